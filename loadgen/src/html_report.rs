//! A run as one HTML file that needs nothing else: figures, and charts drawn by its own script.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::failure::Failure;

const PAGE: &str = include_str!("report.html");
const PLACE: &str = "/*run*/null";

/// Writes `run` as HTML.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write_report(run: &Value, output: &Path) -> Result<(), Failure> {
    fs::write(output, page(run))
        .map_err(|source| Failure::Output { path: output.to_owned(), source })
}

/// The page; the run's JSON cannot end the script that it lies in.
fn page(run: &Value) -> String {
    PAGE.replacen(PLACE, &run.to_string().replace('<', "\\u003c"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_page_holds_the_run_and_reaches_for_nothing() {
        let page = page(&json!({ "mode": "produce", "note": "</script><b>" }));
        assert!(page.contains("\\u003c/script>"));
        assert!(!page.contains(PLACE));
        assert_eq!(page.matches("</script>").count(), 1);
        for reach in ["http://", "https://", "src=", "import ", "fetch(", "@import"] {
            let found = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!found.contains(reach), "{reach}");
        }
    }
}
