//! An evaluation as text for people, on a terminal or in a file.

use std::io::Write;

use cspnet::formats::text::shown as shown_text;
use cspnet_data::Skipped;
use cspnet_metrics::{Interval, Share};

use super::{Evaluation, confusion};
use crate::failure::Failure;
use crate::table::{clipped, plain};

/// Names and files that are listed; beyond, their number is told.
const MAX_LISTED: usize = 20;

/// Writes all of it, for a terminal of `width` columns.
pub fn write(e: &Evaluation, width: usize, out: &mut impl Write) -> Result<(), Failure> {
    let shown = shown(e);
    writeln!(out, "{}\n", headline(e))?;
    writeln!(out, "{}\n", shares(e))?;
    writeln!(out, "{}\n", per_class(e, &shown, width))?;
    writeln!(out, "{}\n", mistakes(e, &shown, width))?;
    if !e.absent.is_empty() {
        writeln!(out, "{}\n", absent(e))?;
    }
    for note in &e.notes {
        writeln!(out, "{}\n", shown_text(note))?;
    }
    for (unreadable, what) in [(true, "could not be read"), (false, "left out: hidden, or in no class folder")] {
        let files: Vec<&Skipped> = e.skipped.iter().filter(|s| s.unreadable == unreadable).collect();
        if !files.is_empty() {
            writeln!(out, "{}\n", skipped(&files, what))?;
        }
    }
    let (photos, seconds) = (counted(e.photos(), "photo"), e.verdict.seconds);
    Ok(writeln!(out, "{photos} in {seconds:.2} s, {:.0} photos/s", e.photos_per_second())?)
}

/// The classes that have photos or that photos are taken for.
fn shown(e: &Evaluation) -> Vec<usize> {
    let scores = |class| e.verdict.confusion.scores(class);
    (0..e.labels.len()).filter(|&class| scores(class).recall.of() + scores(class).precision.of() > 0).collect()
}

fn headline(e: &Evaluation) -> String {
    let model = e.model.as_ref().map_or("the program's own model".into(), |path| path.display().to_string());
    let classes = e.labels.len() - e.absent.len();
    let of = if classes == 1 { "1 class".to_owned() } else { format!("{classes} classes") };
    let folder = e.folder.display();
    shown_text(&format!("{model} on {} of {of} in {folder}", counted(e.photos(), "photo"))).into_owned()
}

fn shares(e: &Evaluation) -> String {
    let mut table = plain(&["", "share", "right", "95 % interval"], &[1, 2, 3]);
    let rows = [("top-1", Some(e.verdict.confusion.accuracy())), ("top-5", e.verdict.top5)];
    for (name, share) in rows.into_iter().filter_map(|(name, share)| Some((name, share?))) {
        table.add_row([name.into(), percent(share.value()), right(share), interval(share)]);
    }
    table.trim_fmt()
}

fn right(share: Share) -> String {
    format!("{} of {}", share.hits(), share.of())
}

fn interval(share: Share) -> String {
    let Interval { low, high } = share.interval();
    format!("{:.1} to {:.1} %", 100.0 * low, 100.0 * high)
}

fn percent(share: Option<f64>) -> String {
    share.map_or("-".into(), |share| format!("{:.1} %", 100.0 * share))
}

fn per_class(e: &Evaluation, shown: &[usize], width: usize) -> String {
    // Beside the names there are 38 columns of numbers and space.
    let name = width.saturating_sub(38).max(6);
    let mut table = plain(&["class", "photos", "recall", "precision", "F1"], &[1, 2, 3, 4]);
    for &class in shown {
        let scores = e.verdict.confusion.scores(class);
        let [recall, precision, f1] = [scores.recall.value(), scores.precision.value(), scores.f1()].map(percent);
        table.add_row([clipped(&e.labels[class], name), scores.recall.of().to_string(), recall, precision, f1]);
    }
    let means = e.verdict.confusion.means();
    let [recall, precision, f1] = [means.recall, means.precision, means.f1].map(percent);
    table.add_row(["(mean)".into(), String::new(), recall, precision, f1]);
    table.trim_fmt()
}

fn mistakes(e: &Evaluation, shown: &[usize], width: usize) -> String {
    let confusion = &e.verdict.confusion;
    if shown.len() <= confusion::MAX_CLASSES {
        let matrix = confusion::matrix(confusion, &e.labels, shown, width);
        return format!("Rows: what is on the photos. Columns: what the model says.\n\n{matrix}");
    }
    match confusion::mistakes(confusion, &e.labels, width) {
        Some(mistakes) => format!("The most frequent mistakes:\n\n{mistakes}"),
        None => "No photo is taken for something else.".into(),
    }
}

fn absent(e: &Evaluation) -> String {
    let labels: Vec<&str> = e.absent.iter().map(|&class| e.labels[class].as_str()).collect();
    if let [label] = labels[..] {
        return format!("the model's class {label} is not in DATA");
    }
    let named = labels[..labels.len().min(MAX_LISTED)].join(", ");
    let more = match labels.len().saturating_sub(MAX_LISTED) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    format!("{} of the model's {} classes are not in DATA: {named}{more}", labels.len(), e.labels.len())
}

fn skipped(files: &[&Skipped], what: &str) -> String {
    let mut text = format!("{} {what}", counted(files.len() as u64, "file"));
    for Skipped { path, why, .. } in files.iter().take(MAX_LISTED) {
        text += &format!("\n  {}", shown_text(&format!("{}: {why}", path.display())));
    }
    if files.len() > MAX_LISTED {
        text += &format!("\n  ... and {} more; --json names them all", files.len() - MAX_LISTED);
    }
    text
}

/// `1 photo`, `2 photos`.
fn counted(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
