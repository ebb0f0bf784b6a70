//! What is taken for what, in text: a matrix where it can be read, the most frequent mistakes where not.

use cspnet_metrics::{Cell, Confusion};

use crate::table::{clipped, plain};

/// More classes than this make no matrix that anybody would read.
pub const MAX_CLASSES: usize = 30;

/// Mistakes that are told where there is no matrix.
const MAX_MISTAKES: usize = 20;

/// The matrix of the classes `shown`, at most `width` columns wide if that can be: names are clipped, and what does not fit
/// beside each other comes below.
///
/// Its columns have numbers for names, and its rows both.
pub fn matrix(confusion: &Confusion, labels: &[String], shown: &[usize], width: usize) -> String {
    let cells = shown.iter().flat_map(|&truth| shown.iter().map(move |&predicted| confusion.at(truth, predicted)));
    let widest = cells.chain([shown.len() as u64]).max().unwrap_or(0).to_string().len();
    let number = shown.len().to_string().len();
    let longest = shown.iter().map(|&class| labels[class].chars().count()).max().unwrap_or(0);
    let name = longest.min((width / 3).max(6));
    // Each column of a table has a space on both sides.
    let fitting = width.saturating_sub(number + 2 + name + 2) / (widest + 2);
    let bands = shown.len().div_ceil(fitting.max(1));
    // Bands of equal width read better than a full one and a rest.
    let columns = shown.len().div_ceil(bands.max(1));
    let band = |first: usize| {
        let last = (first + columns).min(shown.len());
        band(confusion, labels, shown, first..last, name)
    };
    (0..shown.len()).step_by(columns.max(1)).map(band).collect::<Vec<_>>().join("\n\n")
}

/// The columns at some places of a matrix, with all rows.
fn band(
    confusion: &Confusion,
    labels: &[String],
    shown: &[usize],
    places: std::ops::Range<usize>,
    name_width: usize,
) -> String {
    let mut header = vec![String::new(), String::new()];
    header.extend(places.clone().map(|place| (place + 1).to_string()));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let right: Vec<usize> = [0].into_iter().chain(2..header.len()).collect();
    let mut table = plain(&header, &right);
    for (i, &truth) in shown.iter().enumerate() {
        let mut row = vec![(i + 1).to_string(), clipped(&labels[truth], name_width)];
        row.extend(places.clone().map(|place| or_dot(confusion.at(truth, shown[place]))));
        table.add_row(row);
    }
    table.trim_fmt()
}

/// A dot for zero, so that a matrix shows where something is.
fn or_dot(photos: u64) -> String {
    if photos == 0 { ".".into() } else { photos.to_string() }
}

/// The most frequent mistakes; `None` if there is none.
pub fn mistakes(confusion: &Confusion, labels: &[String], width: usize) -> Option<String> {
    let mistakes = confusion.mistakes();
    // Three spaces a column beside the numbers, shared by two names.
    let name = (width.saturating_sub(24) / 2).max(6);
    let mut table = plain(&["photos", "of class", "of", "taken for"], &[0, 1]);
    for Cell { truth, predicted, photos } in mistakes.iter().take(MAX_MISTAKES) {
        let share = 100.0 * *photos as f64 / confusion.scores(*truth).recall.of() as f64;
        let names = [truth, predicted].map(|&class| clipped(&labels[class], name));
        let [truth, predicted] = names;
        table.add_row([photos.to_string(), format!("{share:.0} %"), truth, predicted]);
    }
    let more = match mistakes.len().saturating_sub(MAX_MISTAKES) {
        0 => String::new(),
        n => format!("\n ... and {n} more pairs"),
    };
    (!mistakes.is_empty()).then(|| table.trim_fmt() + &more)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(classes: usize) -> Vec<String> {
        (0..classes).map(|i| format!("class-of-a-long-name-{i}")).collect()
    }

    /// Every class has ten photos that are right, and one that is taken for the next class.
    fn example(classes: usize) -> Confusion {
        let mut confusion = Confusion::new(classes);
        for class in 0..classes {
            (0..10).for_each(|_| confusion.count(class, class));
            confusion.count(class, (class + 1) % classes);
        }
        confusion
    }

    #[test]
    fn rows_are_truths_and_columns_have_numbers() {
        let labels = ["cat", "dog"].map(str::to_owned);
        let text = matrix(&example(2), &labels, &[0, 1], 80);
        let words: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(words, [vec!["1", "2"], vec!["1", "cat", "10", "1"], vec!["2", "dog", "1", "10"]]);
    }

    #[test]
    fn a_matrix_keeps_to_its_width() {
        let shown: Vec<usize> = (0..30).collect();
        for width in [24, 40, 60, 80, 200] {
            let text = matrix(&example(30), &labels(30), &shown, width);
            let widest = text.lines().map(|l| l.chars().count()).max().unwrap();
            assert!(widest <= width, "{widest} of {width}\n{text}");
            let numbers: Vec<&str> =
                text.split("\n\n").flat_map(|band| band.lines().next().unwrap().split_whitespace()).collect();
            assert!(numbers.into_iter().eq((1..=30).map(|n| n.to_string()).collect::<Vec<_>>()));
        }
        // Even where nothing fits, there is one column at a time.
        assert_eq!(matrix(&example(3), &labels(3), &[0, 1, 2], 0).split("\n\n").count(), 3);
        assert_eq!(matrix(&Confusion::new(0), &[], &[], 80), "");
    }

    #[test]
    fn mistakes_are_told_up_to_a_number() {
        let text = mistakes(&example(40), &labels(40), 60).unwrap();
        assert!(text.ends_with("and 20 more pairs"), "{text}");
        assert_eq!(text.lines().count(), 1 + 20 + 1);
        assert!(text.lines().all(|l| l.chars().count() <= 60), "{text}");
        assert!(text.lines().nth(1).unwrap().contains("9 %"), "{text}");
        assert_eq!(mistakes(&Confusion::new(40), &labels(40), 60), None);
    }
}
