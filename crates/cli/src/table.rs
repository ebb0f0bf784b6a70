//! Tables on a terminal.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// Columns to write: as many as the variable `COLUMNS` says, or as the terminal has; what is no terminal counts as 100.
pub fn terminal_width() -> usize {
    let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).filter(|&columns| columns > 0);
    let terminal = || Table::new().set_content_arrangement(ContentArrangement::Dynamic).width().map(usize::from);
    said.or_else(terminal).unwrap_or(100)
}

/// A table without lines, whose columns named in `right` are aligned to the right.
pub fn plain(header: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    for &column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The beginning of a name that is too long for its column.
pub fn clipped(name: &str, width: usize) -> String {
    if name.chars().count() <= width {
        return name.to_owned();
    }
    let beginning: String = name.chars().take(width.saturating_sub(1)).collect();
    format!("{beginning}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_keep_their_beginning() {
        assert_eq!(clipped("long-sleeved", 7), "long-s…");
        assert_eq!(clipped("café", 4), "café");
        assert_eq!(clipped("café", 0), "…");
    }
}
