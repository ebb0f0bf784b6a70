//! Bars that show how far something is. They are on a terminal only, on standard error, and go away.

use cspnet_data::{DataError, DataSet};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

/// A bar that counts photos: `what`, how many, of how many. It goes when it is dropped.
pub fn photos(what: &str) -> ProgressBar {
    let bar = ProgressBar::no_length().with_style(style("{prefix} {bar:30} {pos}/{len}")).with_prefix(what.to_owned());
    bar.with_finish(ProgressFinish::AndClear)
}

/// What a bar looks like.
pub fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Reads photos with a bar that shows how many have been looked at.
pub fn read_photos(
    read: impl FnOnce(&mut dyn FnMut(usize, usize)) -> Result<DataSet, DataError>,
) -> Result<DataSet, DataError> {
    let bar = photos("looking at photos");
    read(&mut |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    })
}
