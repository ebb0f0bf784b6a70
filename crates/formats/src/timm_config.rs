//! The `config.json` that lies beside the weights of timm's networks on Hugging Face: what the network is called, its classes,
//! and how photos are prepared for it.
//!
//! Not here: which networks there are.

use std::collections::HashMap;
use std::path::Path;

use cspnet_vision::{Filter, Preprocess, Resize};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::error::FormatError;
use crate::{json, labels, text};

/// Longest `config.json` that is read, in bytes.
const MAX_LEN: usize = 4 << 20;

/// What timm says of a network beside its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct TimmConfig {
    /// timm's name of the network, without the tag of its weights.
    pub architecture: String,
    /// Number of classes, if it is said.
    pub classes: Option<usize>,
    /// Channels of the picture.
    pub channels: usize,
    /// Names of the classes, or none: their descriptions, where there are some. Or why they cannot be taken.
    pub labels: Result<Vec<String>, String>,
    /// How timm prepares photos for it (`resolve_model_data_config`); `None` if its pictures have other than three channels.
    pub preprocess: Option<Preprocess>,
    /// How timm prepares them to judge it (its `validate.py`), where it says so: often larger than those it has learnt from.
    pub test_preprocess: Option<Preprocess>,
    /// Licence of the weights, if it is said.
    pub licence: Option<String>,
    /// What makes it another network than the one of its name.
    pub changes: Vec<String>,
}

impl TimmConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// As [`TimmConfig::from_json`], and if the file cannot be read.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        Self::from_json(&json::read(path, MAX_LEN)?).map_err(|e| e.at(path))
    }

    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// If it is none of timm's, or photos are prepared in a way that is not known here.
    ///
    /// ```
    /// use cspnet_formats::TimmConfig;
    /// use cspnet_vision::{Filter, Resize};
    ///
    /// let config = TimmConfig::from_json(
    ///     r#"{"architecture": "cspdarknet53", "num_classes": 2, "label_names": ["cat", "dog"],
    ///         "pretrained_cfg": {"input_size": [3, 256, 256], "crop_pct": 0.887, "interpolation": "bilinear",
    ///                            "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}"#,
    /// )?;
    /// assert_eq!((config.architecture.as_str(), config.labels), ("cspdarknet53", Ok(vec!["cat".into(), "dog".into()])));
    /// let preprocess = config.preprocess.unwrap();
    /// assert_eq!((preprocess.resize, preprocess.filter), (Resize::ShorterSide(288), Filter::Bilinear));
    /// # Ok::<(), cspnet_formats::FormatError>(())
    /// ```
    pub fn from_json(text: &str) -> Result<Self, FormatError> {
        if text.len() > MAX_LEN {
            return Err(FormatError::TimmConfig(format!("it has more than {MAX_LEN} bytes")));
        }
        json::check(text.as_bytes()).map_err(FormatError::TimmConfig)?;
        let said: Outer = serde_json::from_str(text).map_err(|e| FormatError::TimmConfig(e.to_string()))?;
        said.read().map_err(FormatError::TimmConfig)
    }
}

/// The file as it is written. Early ones have all in one object.
#[derive(Deserialize)]
struct Outer {
    architecture: Option<String>,
    num_classes: Option<usize>,
    label_names: Option<Names>,
    label_descriptions: Option<Descriptions>,
    global_pool: Option<String>,
    model_args: Option<HashMap<String, IgnoredAny>>,
    pretrained_cfg: Option<Inner>,
    #[serde(flatten)]
    early: Inner,
}

/// What timm calls the configuration of pretrained weights.
#[derive(Deserialize)]
struct Inner {
    architecture: Option<String>,
    num_classes: Option<usize>,
    #[serde(alias = "labels")]
    label_names: Option<Names>,
    input_size: Option<[usize; 3]>,
    test_input_size: Option<[usize; 3]>,
    interpolation: Option<String>,
    crop_pct: Option<f64>,
    test_crop_pct: Option<f64>,
    crop_mode: Option<String>,
    mean: Option<Vec<f32>>,
    std: Option<Vec<f32>>,
    license: Option<String>,
}

/// Names of classes in the forms that are found.
#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    List(Vec<Name>),
    ByNumber(HashMap<String, String>),
    Numbers(HashMap<String, usize>),
    Other(IgnoredAny),
}

/// A name, which may be a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Number(i64),
}

/// What names stand for, such as a synset's.
#[derive(Deserialize)]
#[serde(untagged)]
enum Descriptions {
    ByName(HashMap<String, String>),
    Other(IgnoredAny),
}

impl Names {
    /// The names in the order of the classes.
    fn list(self) -> Result<Vec<String>, String> {
        let by_number = |mut names: HashMap<String, String>| {
            let missing = |i| format!("label {i} (counted from 0) is missing");
            (0..names.len()).map(|i| names.remove(&i.to_string()).ok_or_else(|| missing(i))).collect()
        };
        match self {
            Self::List(names) => Ok(names.into_iter().map(Name::text).collect()),
            Self::ByNumber(names) => by_number(names),
            Self::Numbers(numbers) => by_number(numbers.into_iter().map(|(name, i)| (i.to_string(), name)).collect()),
            Self::Other(_) => Err("the labels are neither a list of names nor a map between numbers and names".into()),
        }
    }
}

impl Name {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

impl Outer {
    fn read(self) -> Result<TimmConfig, String> {
        let changes = self.changes();
        let Self { early, pretrained_cfg, .. } = self;
        let (inner, outer) = match pretrained_cfg {
            Some(inner) => (inner, Some(early)),
            None => (early, None),
        };
        let (outer_labels, outer_licence) = outer.map_or((None, None), |outer| (outer.label_names, outer.license));
        let architecture = self.architecture.or(inner.architecture.clone()).ok_or("it names no `architecture`")?;
        let classes = self.num_classes.or(inner.num_classes);
        let (channels, preprocess) = inner.prepare(inner.input_size, inner.crop_pct)?;
        let (_, test_preprocess) =
            inner.prepare(inner.test_input_size.or(inner.input_size), inner.test_crop_pct.or(inner.crop_pct))?;
        let licence = inner.license.or(outer_licence);
        for (what, said) in [("the architecture", Some(&architecture)), ("the licence", licence.as_ref())] {
            text::check(what, said.map_or("", String::as_str))?;
        }
        Ok(TimmConfig {
            architecture: architecture.split('.').next().unwrap_or_default().to_owned(),
            classes,
            channels,
            labels: described(
                self.label_names.or(inner.label_names).or(outer_labels),
                self.label_descriptions,
                classes,
            ),
            test_preprocess: test_preprocess.filter(|test| preprocess.as_ref().is_some_and(|own| own != test)),
            preprocess,
            licence,
            changes,
        })
    }

    /// What makes the network another than the one of its name: what it was made with, and another pooling than the mean.
    fn changes(&self) -> Vec<String> {
        let pool = self.global_pool.as_ref().filter(|pool| *pool != "avg").map(|pool| format!("global_pool={pool}"));
        let mut changes: Vec<String> =
            self.model_args.iter().flatten().map(|(name, _)| name.clone()).chain(pool).collect();
        changes.sort();
        changes
    }
}

/// Names of so many classes, with descriptions instead of those that have one.
fn described(
    names: Option<Names>,
    descriptions: Option<Descriptions>,
    classes: Option<usize>,
) -> Result<Vec<String>, String> {
    let mut names = names.map_or(Ok(Vec::new()), Names::list)?;
    if let Some(Descriptions::ByName(mut descriptions)) = descriptions {
        names.iter_mut().for_each(|name| *name = descriptions.remove(name).unwrap_or_else(|| std::mem::take(name)));
    }
    labels::check(&names, classes.unwrap_or(names.len()))?;
    Ok(names)
}

impl Inner {
    /// The picture's channels, and how a photo becomes one of this size if they are three, by the rules of timm's `create_transform`.
    fn prepare(&self, size: Option<[usize; 3]>, crop: Option<f64>) -> Result<(usize, Option<Preprocess>), String> {
        let [channels, height, width] = size.ok_or("it says no `input_size`")?;
        if channels != 3 {
            return Ok((channels, None));
        }
        if height != width {
            return Err(format!("`input_size` is {height} x {width}; only squares are prepared as timm does it"));
        }
        let filter = match self.interpolation.as_deref() {
            Some("bilinear") => Filter::Bilinear,
            Some("bicubic") => Filter::Bicubic,
            Some(other) => return Err(format!("`interpolation` is `{other}`; `bilinear` and `bicubic` are known")),
            None => return Err("it says no `interpolation`".into()),
        };
        let crop = crop.ok_or("it says no `crop_pct`")?;
        let side = u32::try_from(height).map_err(|e| e.to_string())?;
        let whole = Preprocess::imagenet(side, crop, filter).map_err(|e| e.to_string())?;
        let resize = match self.crop_mode.as_deref() {
            None | Some("center") => whole.resize,
            Some("squash") if crop == 1.0 => Resize::Stretch,
            Some("squash") => {
                return Err(format!("`crop_mode` is `squash` with `crop_pct` {crop}; it is known with 1"));
            }
            Some(other) => return Err(format!("`crop_mode` is `{other}`; `center` and `squash` are known")),
        };
        let three = |name: &str, numbers: &Option<Vec<f32>>| {
            let numbers = numbers.as_deref().ok_or_else(|| format!("it says no `{name}`"))?;
            <[f32; 3]>::try_from(numbers).map_err(|_| format!("`{name}` has {} numbers instead of 3", numbers.len()))
        };
        let (mean, std) = (three("mean", &self.mean)?, three("std", &self.std)?);
        let preprocess = Preprocess { resize, mean, std, ..whole };
        preprocess.validate().map_err(|e| e.to_string())?;
        Ok((channels, Some(preprocess)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config() -> Value {
        json!({
            "architecture": "densenet121.ra_in1k", "num_classes": 2, "num_features": 1024,
            "label_names": ["cat", "dog"],
            "pretrained_cfg": {
                "tag": "ra_in1k", "input_size": [3, 224, 224], "test_input_size": [3, 288, 288], "interpolation": "bicubic",
                "crop_pct": 0.875, "crop_mode": "center", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25],
                "num_classes": 1000, "license": "apache-2.0", "first_conv": "features.conv0"
            }
        })
    }

    fn read(value: &Value) -> Result<TimmConfig, String> {
        TimmConfig::from_json(&value.to_string()).map_err(|e| e.to_string())
    }

    #[test]
    fn name_classes_and_preparation_are_read() {
        let read = read(&config()).unwrap();
        assert_eq!((read.architecture.as_str(), read.classes, read.channels), ("densenet121", Some(2), 3));
        assert_eq!((read.labels.unwrap().join(" "), read.licence.as_deref()), ("cat dog".into(), Some("apache-2.0")));
        let (preprocess, test) = (read.preprocess.unwrap(), read.test_preprocess.unwrap());
        assert_eq!((test.size, test.resize), ((288, 288), Resize::ShorterSide(329)));
        assert_eq!((test.filter, test.mean, test.std), (preprocess.filter, preprocess.mean, preprocess.std));
        assert_eq!(read.changes, [""; 0]);
        assert_eq!((preprocess.size, preprocess.resize), ((224, 224), Resize::ShorterSide(256)));
        assert_eq!((preprocess.filter, preprocess.mean, preprocess.std), (Filter::Bicubic, [0.5; 3], [0.25; 3]));
    }

    #[test]
    fn early_files_have_all_in_one_object() {
        let mut early = config()["pretrained_cfg"].clone();
        early["architecture"] = json!("densenet121");
        early["num_classes"] = json!(2);
        early["labels"] = json!({"1": "dog", "0": "cat"});
        let read = read(&early).unwrap();
        assert_eq!((read.architecture.as_str(), read.classes), ("densenet121", Some(2)));
        assert_eq!(read.labels.unwrap(), ["cat", "dog"]);
        assert_eq!(read.licence.as_deref(), Some("apache-2.0"));
    }

    #[test]
    fn labels_come_in_many_forms() {
        for (names, expected) in [
            (json!({"dog": 1, "cat": 0}), ["cat", "dog"]),
            (json!({"1": "dog", "0": "cat"}), ["cat", "dog"]),
            (json!([7, "dog"]), ["7", "dog"]),
        ] {
            let mut changed = config();
            changed["label_names"] = names;
            assert_eq!(read(&changed).unwrap().labels.unwrap(), expected);
        }
        let mut described = config();
        described["label_descriptions"] = json!({"dog": "dog, Canis familiaris"});
        assert_eq!(read(&described).unwrap().labels.unwrap(), ["cat", "dog, Canis familiaris"]);
        let mut outside = config();
        outside.as_object_mut().unwrap().remove("label_names");
        outside["labels"] = json!(["a", "b"]);
        outside["pretrained_cfg"].as_object_mut().unwrap().remove("license");
        outside["license"] = json!("mit");
        let read = read(&outside).unwrap();
        assert_eq!((read.labels.unwrap().join(" "), read.licence.as_deref()), ("a b".into(), Some("mit")));
    }

    #[test]
    fn labels_that_cannot_be_taken_do_not_keep_the_rest_from_being_read() {
        for (names, why) in [
            (json!(["cat"]), "1 labels for 2 outputs"),
            (json!({"cat": 0, "dog": 2}), "label 1 (counted from 0) is missing"),
            (json!({"cat": 0, "dog": 0}), "1 labels for 2 outputs"),
            (json!({"0": "cat", "2": "dog"}), "label 1 (counted from 0) is missing"),
            (json!([["cat"], ["dog"]]), "neither a list of names"),
            (json!("cat"), "neither a list of names"),
        ] {
            let mut changed = config();
            changed["label_names"] = names;
            let read = read(&changed).unwrap();
            assert!(read.labels.as_ref().unwrap_err().contains(why) && read.preprocess.is_some(), "{:?}", read.labels);
        }
    }

    #[test]
    fn what_makes_it_another_network_is_told() {
        let mut changed = config();
        changed["global_pool"] = json!("max");
        changed["model_args"] = json!({"act_layer": "gelu", "stem_type": "deep"});
        assert_eq!(read(&changed).unwrap().changes, ["act_layer", "global_pool=max", "stem_type"]);
        changed["global_pool"] = json!("avg");
        changed["model_args"] = Value::Null;
        assert_eq!(read(&changed).unwrap().changes, [""; 0]);
    }

    #[test]
    fn a_photo_that_is_squashed_keeps_all_of_itself() {
        let mut squashed = config();
        squashed["pretrained_cfg"]["crop_mode"] = json!("squash");
        assert!(read(&squashed).unwrap_err().contains("`squash` with `crop_pct` 0.875"));
        squashed["pretrained_cfg"]["crop_pct"] = json!(1.0);
        assert_eq!(read(&squashed).unwrap().preprocess.unwrap().resize, Resize::Stretch);
    }

    #[test]
    fn pictures_that_are_no_photos_are_not_prepared() {
        let mut one = config();
        one["pretrained_cfg"]["input_size"] = json!([1, 28, 28]);
        let read = read(&one).unwrap();
        assert_eq!((read.channels, read.preprocess, read.test_preprocess), (1, None, None));
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        for (field, value, told) in [
            ("input_size", json!([3, 224, 256]), "224 x 256"),
            ("input_size", Value::Null, "no `input_size`"),
            ("input_size", json!([3, 1u64 << 40, 1u64 << 40]), ""),
            ("interpolation", json!("lanczos"), "`lanczos`"),
            ("crop_mode", json!("border"), "`border`"),
            ("crop_pct", json!(0), "crop_pct"),
            ("mean", json!([0.5]), "`mean` has 1 numbers"),
            ("std", json!([0.5, 0.0, 0.5]), "std"),
            ("license", json!("\u{1b}[2K"), "licence"),
        ] {
            let mut changed = config();
            changed["pretrained_cfg"][field] = value;
            let error = read(&changed).unwrap_err();
            assert!(error.contains(told) && !error.contains(char::is_control), "{error}");
        }
        assert!(read(&json!({"model_type": "bert"})).unwrap_err().contains("architecture"));
        assert!(read(&json!([1])).is_err());
    }
}
