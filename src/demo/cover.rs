//! Draws book covers.

use crate::demo::pb::Book;

/// An SVG picture of a book's cover. Its colours come from the title, so that a book keeps them.
pub(crate) fn svg(book: &Book) -> String {
    let hue = book.title.bytes().fold(7_u32, |hue, byte| (hue * 31 + u32::from(byte)) % 360);
    let (title, author) = (escape(&book.title), escape(&book.author));
    format!(
        concat!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 240 320" role="img" aria-label="{title}">"#,
            r#"<rect width="240" height="320" rx="6" fill="hsl({hue},45%,32%)"/>"#,
            r#"<path d="M20 0v320" stroke="hsl({hue},45%,22%)" stroke-width="6"/>"#,
            r#"<g fill="white" font-family="serif" text-anchor="middle">"#,
            r#"<text x="130" y="120" font-size="18" textLength="190" lengthAdjust="spacingAndGlyphs">{title}</text>"#,
            r#"<text x="130" y="280" font-size="13">{author}</text></g></svg>"#,
        ),
        title = title,
        author = author,
        hue = hue,
    )
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_cannot_break_out_of_the_picture() {
        let book = Book { title: "<script>\"&\u{0}".into(), ..Default::default() };
        let svg = svg(&book);
        assert!(svg.contains("&lt;script&gt;&quot;&amp; "), "{svg}");
        assert!(!svg.contains("<script"));
    }
}
