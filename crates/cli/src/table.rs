//! Tables on a terminal.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// Columns of the terminal; what is no terminal counts as 100.
pub fn terminal_width() -> usize {
    Table::new().set_content_arrangement(ContentArrangement::Dynamic).width().map_or(100, usize::from)
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
