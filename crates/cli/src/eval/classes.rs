//! Which of the model's classes each class folder is, by name.

use cspnet_data::class_name;

use crate::failure::Failure;

/// As many names as fit a message; beyond, the nearest ones are told.
const FEW: usize = 12;

/// For each folder, the place of its class among the model's.
pub fn of_folders(labels: &[String], folders: &[String]) -> Result<Vec<usize>, Failure> {
    if labels.is_empty() {
        return Err(Failure::Message(
            "the model has no names for its classes, so folders cannot be matched with them; make its file again with --labels"
                .into(),
        ));
    }
    let labels: Vec<String> = labels.iter().map(|label| class_name(label)).collect();
    let unknown: Vec<&str> = folders.iter().filter(|f| !labels.contains(f)).map(String::as_str).collect();
    if !unknown.is_empty() {
        return Err(Failure::Message(unknown_message(&labels, &unknown)));
    }
    folders.iter().map(|folder| place(&labels, folder)).collect()
}

/// The only place of a name: two labels may be one name in two Unicode forms, and a folder cannot say which it means.
fn place(labels: &[String], folder: &str) -> Result<usize, Failure> {
    let places: Vec<usize> = (0..labels.len()).filter(|&class| labels[class] == folder).collect();
    match places[..] {
        [place] => Ok(place),
        _ => Err(Failure::Message(format!(
            "the model has {} classes of the name `{folder}`, so the folder could be any of them; leave it out",
            places.len()
        ))),
    }
}

fn unknown_message(labels: &[String], unknown: &[&str]) -> String {
    let named: Vec<String> = unknown.iter().take(3).map(|name| format!("`{name}`")).collect();
    let others = match unknown.len() - named.len() {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let (class, folder) = match unknown.len() {
        1 => ("class", "folder, or leave it"),
        _ => ("classes", "folders, or leave them"),
    };
    let known = if labels.len() <= FEW {
        format!("its classes are {}", labels.join(", "))
    } else {
        let nearest = nearest(labels, unknown[0]).join(", ");
        format!("of its {} classes, the nearest to {} are {nearest}", labels.len(), named[0])
    };
    let named = named.join(", ");
    format!("the model does not know the {class} {named}{others}; {known}; rename the {folder} out")
}

/// The three names that differ least, in whatever case.
fn nearest<'a>(labels: &'a [String], name: &str) -> Vec<&'a str> {
    let mut nearest: Vec<&str> = labels.iter().map(String::as_str).collect();
    nearest.sort_by_cached_key(|label| strsim::levenshtein(&label.to_lowercase(), &name.to_lowercase()));
    nearest.truncate(3);
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&n| n.to_owned()).collect()
    }

    fn refused(labels: &[String], folders: &[&str]) -> String {
        match of_folders(labels, &names(folders)) {
            Err(Failure::Message(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_decide_not_places() {
        assert_eq!(of_folders(&names(&["b", "a", "c"]), &names(&["a", "b"])).unwrap(), [1, 0]);
        // The model's label has its accent apart; folders come composed.
        assert_eq!(of_folders(&names(&["tea", "cafe\u{301}"]), &names(&["caf\u{e9}"])).unwrap(), [1]);
    }

    #[test]
    fn unknown_names_are_told_with_those_there_are() {
        let one = refused(&names(&["cat", "dog"]), &["Cat", "dog"]);
        assert!(one.contains("the class `Cat`;") && one.contains("its classes are cat, dog"), "{one}");
        let many: Vec<String> = (0..1000).map(|i| format!("class {i}")).chain(names(&["jacket"])).collect();
        let five = refused(&many, &["Jackets", "v", "w", "x", "y"]);
        assert!(five.contains("`Jackets`, `v`, `w` and 2 more") && five.contains("are jacket, class"), "{five}");
    }

    #[test]
    fn names_that_mean_two_classes_or_none_are_refused() {
        assert!(
            refused(&names(&["caf\u{e9}", "hen", "cafe\u{301}"]), &["caf\u{e9}"])
                .contains("2 classes of the name `caf\u{e9}`")
        );
        assert_eq!(of_folders(&names(&["caf\u{e9}", "hen", "cafe\u{301}"]), &names(&["hen"])).unwrap(), [1]);
        assert!(refused(&[], &["hen"]).contains("no names"));
    }
}
