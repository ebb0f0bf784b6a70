//! What is told of each photo, as a table, JSON Lines or CSV.

use std::io::{IsTerminal, StdoutLock, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use cspnet::Class;
use cspnet::formats::text::shown;
use serde::Serialize;

use crate::failure::Failure;
use crate::table::clipped;

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table for people; the default on a terminal.
    Table,
    /// One JSON object a line; the default elsewhere.
    Jsonl,
    /// Comma-separated values: one line a class.
    Csv,
}

/// Columns that the likeliest class has at least, also where the terminal is narrower.
const LEAST_ANSWER: usize = 16;

/// One photo's answer.
#[derive(Debug)]
pub struct Record {
    /// The photo.
    pub photo: PathBuf,
    /// Its likeliest classes and the milliseconds they took, or why there are none.
    pub answer: Result<(Vec<Class>, f64), String>,
}

#[derive(Serialize)]
struct JsonRecord<'a> {
    photo: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<Vec<JsonClass<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    milliseconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct JsonClass<'a> {
    label: &'a str,
    index: usize,
    probability: f32,
}

impl<'a> JsonClass<'a> {
    fn of(class: &'a Class) -> Self {
        Self { label: &class.label, index: class.index, probability: class.probability }
    }
}

/// Writes records as they come.
pub struct Writer<'a> {
    out: StdoutLock<'a>,
    format: Format,
    /// Columns of the terminal for the table.
    width: usize,
    begun: bool,
}

impl<'a> Writer<'a> {
    /// To standard output, in the form asked for or the one that fits.
    pub fn new(out: StdoutLock<'a>, format: Option<Format>) -> Self {
        let fitting = if out.is_terminal() { Format::Table } else { Format::Jsonl };
        let width = crate::table::terminal_width();
        Self { out, format: format.unwrap_or(fitting), width, begun: false }
    }

    /// Writes one record.
    pub fn write(&mut self, record: &Record) -> Result<(), Failure> {
        match self.format {
            Format::Table => table_row(&mut self.out, self.width, record)?,
            Format::Jsonl => self.json_line(record)?,
            Format::Csv => self.csv_lines(record)?,
        }
        self.begun = true;
        Ok(self.out.flush()?)
    }

    fn json_line(&mut self, record: &Record) -> Result<(), Failure> {
        let photo = record.photo.to_string_lossy();
        let json = match &record.answer {
            Ok((classes, milliseconds)) => JsonRecord {
                photo: &photo,
                classes: Some(classes.iter().map(JsonClass::of).collect()),
                milliseconds: Some((milliseconds * 1000.0).round() / 1000.0),
                error: None,
            },
            Err(why) => JsonRecord { photo: &photo, classes: None, milliseconds: None, error: Some(why) },
        };
        serde_json::to_writer(&mut self.out, &json)?;
        Ok(self.out.write_all(b"\n")?)
    }

    fn csv_lines(&mut self, record: &Record) -> Result<(), Failure> {
        let mut csv = csv::Writer::from_writer(&mut self.out);
        if !self.begun {
            csv.write_record(["photo", "rank", "label", "probability", "milliseconds", "error"])?;
        }
        let photo = record.photo.to_string_lossy();
        match &record.answer {
            Ok((classes, milliseconds)) => {
                for (rank, c) in classes.iter().enumerate() {
                    let (rank, probability) = ((rank + 1).to_string(), c.probability.to_string());
                    let time = format!("{milliseconds:.3}");
                    csv.write_record([photo.as_ref(), rank.as_str(), c.label.as_str(), &probability, &time, ""])?;
                }
            }
            Err(why) => csv.write_record([photo.as_ref(), "", "", "", "", why.as_str()])?,
        }
        Ok(csv.flush()?)
    }
}

/// A row as wide as the terminal: the photo's name is shortened from the left, then classes are left out, but the
/// likeliest, whose name is shortened from the right.
fn table_row(out: &mut impl Write, width: usize, record: &Record) -> Result<(), Failure> {
    let name_width = (width / 3).clamp(12, 44);
    let name = shorten(&shown(&record.photo.to_string_lossy()), name_width);
    match &record.answer {
        Ok((classes, milliseconds)) => {
            let time = format!("{milliseconds:7.1} ms");
            let mut row = format!("{name:<name_width$} {time} ");
            for (rank, c) in classes.iter().enumerate() {
                let cell = format!("  {:>5.1} % {:<10}", 100.0 * c.probability, c.label);
                let left = width.saturating_sub(row.chars().count());
                match cell.trim_end().chars().count() > left {
                    false => row.push_str(&cell),
                    // The likeliest is what was asked for.
                    true if rank == 0 => row.push_str(&clipped(cell.trim_end(), left.max(LEAST_ANSWER))),
                    true => break,
                }
            }
            Ok(writeln!(out, "{}", row.trim_end())?)
        }
        Err(why) => Ok(writeln!(out, "{name:<name_width$}  error: {}", shown(why))?),
    }
}

/// The end of a name that is too long for its column.
fn shorten(name: &str, width: usize) -> String {
    let len = name.chars().count();
    if len <= width {
        return name.to_owned();
    }
    let rest: String = name.chars().skip(len - width + 1).collect();
    format!("…{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_class_is_told_however_narrow_the_terminal() {
        let class = |label: &str, probability| Class { index: 0, label: label.into(), probability };
        let record = Record {
            photo: "a/photo.jpg".into(),
            answer: Ok((vec![class("an ImageNet label of many words, and more", 0.5), class("b", 0.25)], 1.0)),
        };
        let row = |width: usize| {
            let mut row = Vec::new();
            table_row(&mut row, width, &record).unwrap();
            String::from_utf8(row).unwrap()
        };
        assert!(row(200).contains("and more") && row(200).contains("25.0 % b"));
        assert!(
            row(80).contains("50.0 % an ImageNet label") && row(80).trim_end().chars().count() <= 80,
            "{}",
            row(80)
        );
        assert!(row(20).contains("50.0 % an"), "{}", row(20));
    }

    #[test]
    fn long_names_keep_their_end() {
        assert_eq!(shorten("a/long/path/to/photo.jpg", 10), "…photo.jpg");
        assert_eq!(shorten("é.jpg", 10), "é.jpg");
    }
}
