//! Which template a path matches, compared segment by segment: the rule that
//! `core`'s radix trees must agree with.

/// A path as templates see it: bytes that are no printable ASCII as `%XX`.
pub fn printable(path: &[u8]) -> String {
    let mut text = String::new();
    for &byte in path {
        if byte.is_ascii_graphic() {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Index of the template that matches `path`, all given as labels (`:name`,
/// `*`). One without `*` wins over those with it, of those the longest; then a
/// static segment wins over `:name`, from the left. Of a path that was cut only
/// a template that ends in `*` matches.
pub fn best(templates: &[&str], path: &str, cut: bool) -> Option<usize> {
    let path: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let ranked = templates
        .iter()
        .enumerate()
        .filter_map(|(index, template)| {
            let template: Vec<&str> = template.strip_prefix('/')?.split('/').collect();
            let (rest, named) = match template.split_last() {
                Some((&"*", named)) => (true, named),
                _ => (false, template.as_slice()),
            };
            let length = match rest {
                true => path.len() > named.len(),
                false => path.len() == named.len() && !cut,
            };
            let same = |(named, segment): (&&str, &&str)| match named.strip_prefix(':') {
                Some(_) => !segment.is_empty(),
                None => named == segment,
            };
            let matches = length && named.iter().zip(&path).all(same);
            let is_static: Vec<bool> = named.iter().map(|s| !s.starts_with(':')).collect();
            matches.then_some(((!rest, named.len(), is_static), index))
        });
    ranked.max().map(|(_, index)| index)
}
