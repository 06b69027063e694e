//! `highwater explain E0003`: one page per error that an operator may meet.
//!
//! The pages are embedded, so that they are at hand on the host that prints the code.

use crate::cli::error::CliError;

/// Every page, by code.
pub(crate) const PAGES: &[(&str, &str)] = &[
    ("E0001", include_str!("errors/E0001.md")),
    ("E0002", include_str!("errors/E0002.md")),
    ("E0003", include_str!("errors/E0003.md")),
    ("E0004", include_str!("errors/E0004.md")),
    ("E0005", include_str!("errors/E0005.md")),
    ("E0006", include_str!("errors/E0006.md")),
    ("E0007", include_str!("errors/E0007.md")),
    ("E0008", include_str!("errors/E0008.md")),
    ("E0009", include_str!("errors/E0009.md")),
    ("E0010", include_str!("errors/E0010.md")),
    ("E0011", include_str!("errors/E0011.md")),
];

/// Prints one page, or the list of all.
pub(crate) fn run(code: &str) -> Result<(), CliError> {
    if code.eq_ignore_ascii_case("list") {
        for (code, page) in PAGES {
            println!("{code}  {}", title(page));
        }
        return Ok(());
    }
    let page = PAGES.iter().find(|(known, _)| known.eq_ignore_ascii_case(code));
    let Some((_, page)) = page else {
        return Err(CliError::Usage {
            flag: "explain",
            value: code.to_owned(),
            expected: "must be one of the codes that `highwater explain list` shows",
        });
    };
    print!("{page}");
    Ok(())
}

fn title(page: &str) -> &str {
    page.lines().next().unwrap_or_default().trim_start_matches(['#', ' '])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_its_code_as_title_and_the_four_sections() {
        for (code, page) in PAGES {
            assert!(title(page).starts_with(code), "{code}: {}", title(page));
            for section in
                ["## What happened", "## Likely cause", "## What to do", "## Is data safe"]
            {
                assert!(page.contains(section), "{code} lacks {section}");
            }
        }
    }
}
