//! `--class-weights`: what was typed, as one number for each class of a data set.

use std::collections::BTreeMap;
use std::path::Path;

use cspnet_data::{DataSet, class_name};
use cspnet_train::balanced_weights;

use crate::failure::Failure;

/// The weights that `text` stands for; `None` for none.
pub fn of(text: &str, data: &DataSet) -> Result<Option<Vec<f64>>, Failure> {
    match text {
        "none" => Ok(None),
        "auto" => Ok(Some(balanced_weights(&data.train, data.classes.len()))),
        _ if Path::new(text).is_file() => read(Path::new(text), &data.classes).map(Some),
        _ => listed(text, &data.classes).map(Some),
    }
}

/// Numbers in the order of the classes.
fn listed(text: &str, classes: &[String]) -> Result<Vec<f64>, Failure> {
    let weights: Result<Vec<f64>, _> = text.split(',').map(|number| number.trim().parse()).collect();
    let weights = weights.map_err(|_| {
        Failure::Message(format!(
            "--class-weights {text}: neither a file nor numbers with commas, nor `auto` or `none`"
        ))
    })?;
    if weights.len() != classes.len() {
        let (found, wanted) = (weights.len(), classes.len());
        return Err(Failure::Message(format!("--class-weights has {found} numbers, and there are {wanted} classes")));
    }
    Ok(weights)
}

/// Lines `CLASS,WEIGHT`, one for every class.
fn read(path: &Path, classes: &[String]) -> Result<Vec<f64>, Failure> {
    let wrong = |why: String| Failure::Message(format!("{}: {why}", path.display()));
    let mut csv = csv::ReaderBuilder::new().has_headers(false).trim(csv::Trim::All).from_path(path);
    let lines = csv.as_mut().map_err(|e| wrong(e.to_string()))?.deserialize::<(String, f64)>();
    let mut weights = BTreeMap::new();
    for line in lines {
        let (class, weight) = line.map_err(|e| wrong(e.to_string()))?;
        weights.insert(class_name(&class), weight);
    }
    let weight =
        |class: &String| weights.remove(class).ok_or_else(|| wrong(format!("no line for the class `{class}`")));
    let found = classes.iter().map(weight).collect::<Result<Vec<_>, _>>()?;
    match weights.keys().next() {
        Some(other) => Err(wrong(format!("`{other}` is no class of the photos"))),
        None => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_files_are_matched_with_the_classes() {
        let classes = ["cat".to_owned(), "dog".to_owned()];
        assert_eq!(listed("1, 2.5", &classes).unwrap(), [1.0, 2.5]);
        assert!(listed("1", &classes).is_err() && listed("1,x", &classes).is_err());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weights.csv");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(&path, &classes)
        };
        assert_eq!(read("dog, 3\ncat,0.5\n").unwrap(), [0.5, 3.0]);
        for wrong in ["dog,3\n", "dog,3\ncat,1\nmouse,2\n", "dog,x\ncat,1\n"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
