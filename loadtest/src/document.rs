//! A document of which parts are generated: each stands between two markers, and nothing else is
//! ever touched.

use std::path::{Path, PathBuf};

use crate::Anything;

/// A document, read.
pub struct Document {
    path: PathBuf,
    text: String,
}

impl Document {
    /// Reads it. Fails if the markers of one of the parts are missing, which is better known before
    /// half an hour of measuring than after it.
    pub fn open(path: &Path, parts: &[&str]) -> Result<Document, Anything> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("`{}` cannot be read: {error}", path.display()))?;
        let document = Document { path: path.to_owned(), text };
        for part in parts {
            document.place(part)?;
        }
        Ok(document)
    }

    /// Puts this in the place of what a part was.
    pub fn replace(&mut self, part: &str, generated: &str) -> Result<(), Anything> {
        let (start, end) = self.place(part)?;
        self.text.replace_range(start..end, &format!("\n\n{}\n\n", generated.trim()));
        Ok(())
    }

    /// Writes it where it was read.
    pub fn save(&self) -> Result<(), Anything> {
        std::fs::write(&self.path, &self.text)?;
        Ok(())
    }

    /// Where a part begins and ends, between its markers.
    fn place(&self, part: &str) -> Result<(usize, usize), Anything> {
        let (begin, end) = (format!("<!-- begin {part} -->"), format!("<!-- end {part} -->"));
        let path = self.path.display();
        let missing = |marker: &str| format!("`{path}` has no `{marker}`: put it where it belongs");
        let (before, after) = self.text.split_once(&begin).ok_or_else(|| missing(&begin))?;
        let start = before.len() + begin.len();
        Ok((start, start + after.find(&end).ok_or_else(|| missing(&end))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Prose.\n<!-- begin one -->\nold\n<!-- end one -->\nMore.\n\
                        <!-- begin two --><!-- end two -->\n<!-- begin open -->\n";

    fn written() -> (tempfile::TempDir, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("document.md");
        std::fs::write(&path, TEXT).unwrap();
        (home, path)
    }

    #[test]
    fn what_stands_between_markers_is_replaced_and_nothing_else() {
        let (_home, path) = written();
        let mut document = Document::open(&path, &["one", "two"]).unwrap();
        for generated in ["longer than before", "new\n"] {
            document.replace("one", generated).unwrap();
        }
        document.replace("two", "2").unwrap();
        document.save().unwrap();
        let expected = TEXT.replace("\nold\n", "\n\nnew\n\n").replace(
            "<!-- begin two --><!-- end two -->",
            "<!-- begin two -->\n\n2\n\n<!-- end two -->",
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    }

    #[test]
    fn missing_markers_are_refused_before_anything_is_measured() {
        let (_home, path) = written();
        for (part, marker) in [("three", "begin three"), ("open", "end open")] {
            let refused = Document::open(&path, &["one", part]).err().unwrap().to_string();
            assert!(refused.contains(marker), "{refused}");
        }
        assert!(Document::open(&path.with_extension("txt"), &[]).is_err());
    }
}
