//! Which subjects does a stream cover?

/// Returns whether a pattern covers `subject`. If `subject` has wildcards, one pattern must
/// match every subject that it stands for.
pub(super) fn cover(patterns: &[String], subject: &str) -> bool {
    patterns.iter().any(|pattern| covers(pattern, subject))
}

fn covers(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for expected in pattern.split('.') {
        let Some(token) = tokens.next() else {
            return false;
        };
        match (expected, token) {
            (">", _) => return true,
            (_, ">") => return false,
            ("*", _) => {}
            (expected, token) if expected == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

#[cfg(all(test, not(kvbm_loom)))]
mod tests {
    use super::*;

    #[test]
    fn wildcards_cover_what_they_match() {
        let covered = [
            ("a.b", "a.b"),
            ("a.*", "a.b"),
            ("a.*", "a.*"),
            ("*.b", "a.b"),
            ("a.>", "a.b"),
            ("a.>", "a.b.c"),
            ("a.>", "a.>"),
            ("a.>", "a.*.c"),
            (">", "a"),
            (">", ">"),
        ];
        for (pattern, subject) in covered {
            assert!(covers(pattern, subject), "{pattern} covers {subject}");
        }
        let not_covered = [
            ("a.b", "a.c"),
            ("a.b", "a"),
            ("a.b", "a.b.c"),
            ("a.b", "a.*"),
            ("a.*", "a"),
            ("a.*", "a.b.c"),
            ("a.*", "a.>"),
            ("a.>", "a"),
            ("a.>", "b.c"),
            ("a.>", ">"),
            ("*", ">"),
        ];
        for (pattern, subject) in not_covered {
            assert!(
                !covers(pattern, subject),
                "{pattern} does not cover {subject}"
            );
        }
    }

    #[test]
    fn one_of_several_patterns_suffices() {
        let patterns = ["a".to_owned(), "b.*".to_owned()];
        assert!(cover(&patterns, "b.c"));
        assert!(!cover(&patterns, "c"));
        assert!(!cover(&[], "a"));
    }
}
