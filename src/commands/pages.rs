//! How a long list is cut into pages: the rows of each, and the footer.

use std::ops::Range;

use poise::serenity_prelude::CreateEmbedFooter;

use crate::leveling::Grouped;

/// Rows on each page, the last one aside.
const ROWS_PER_PAGE: usize = 10;

/// The number of pages for this number of rows. An empty list has one page.
pub(super) fn page_count(rows: usize) -> usize {
    rows.div_ceil(ROWS_PER_PAGE).max(1)
}

/// The page, from 1, that holds the row at this position, from 1.
pub(super) fn page_with_row(row: usize) -> usize {
    page_count(row)
}

/// The positions, from 0, of the rows on `page`.
pub(super) fn rows_on(page: usize) -> Range<usize> {
    let first = page.saturating_sub(1).saturating_mul(ROWS_PER_PAGE);
    first..first.saturating_add(ROWS_PER_PAGE)
}

/// `page/pages`.
pub(super) fn footer(page: usize, pages: usize) -> CreateEmbedFooter {
    CreateEmbedFooter::new(format!("{}/{}", Grouped(page), Grouped(pages)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_on_the_page_that_is_said_to_hold_it() {
        for row in 1..=101 {
            assert!(
                rows_on(page_with_row(row)).contains(&(row - 1)),
                "row {row}"
            );
        }
        assert_eq!((page_count(0), page_count(10), page_count(11)), (1, 1, 2));
        assert_eq!((rows_on(1), rows_on(3)), (0..10, 20..30));
    }
}
