//! One sample out of the text of `/metrics`.

/// The value of a sample, named as it stands in the text, with its labels.
pub fn sample(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_found_by_its_whole_name() {
        let text = "# TYPE shed_total counter\nshed_total_more 7\nshed_total{why=\"full\"} 2\n\
                    shed_total{why=\"fuller\"} 3.5\nup 1\n";
        assert_eq!(sample(text, "up"), Some(1.0));
        assert_eq!(sample(text, "shed_total{why=\"fuller\"}"), Some(3.5));
        assert_eq!(sample(text, "shed_total"), None);
        assert_eq!(sample(text, "# TYPE shed_total"), None);
    }
}
