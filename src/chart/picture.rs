//! SVG as a PNG, with a font of our own, so that it looks the same on every machine.

use std::sync::Arc;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{self, Options, Tree, fontdb};

/// Letters of Latin, Greek and Cyrillic alphabets, and what stands between them.
const FONT: &[u8] = include_bytes!("font/DejaVuSans.ttf");
const FONT_FAMILY: &str = "DejaVu Sans";
/// Pixels of the picture for one of the SVG: screens with dense pixels show it as sharp as text.
const DENSITY: f32 = 2.0;

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// Not an SVG that can be drawn.
    #[error("the drawing is no SVG")]
    Svg(#[source] usvg::Error),
    /// Nothing, or more than fits into memory.
    #[error("the picture would have {0} × {1} pixels")]
    Size(f32, f32),
    /// The pixels cannot be packed.
    #[error("the picture cannot be written as PNG: {0}")]
    Png(String),
}

/// The picture of an SVG document, with two pixels for each of its own.
///
/// # Errors
/// When the document cannot be drawn; what plots make can be.
pub fn png(svg: &str) -> Result<Vec<u8>, PictureError> {
    let mut fonts = fontdb::Database::new();
    fonts.load_font_data(FONT.to_vec());
    // Letters of other scripts come from what the system has.
    if svg.chars().any(|letter| u32::from(letter) >= 0x0500 && !is_sign(letter)) {
        fonts.load_system_fonts();
    }
    fonts.set_sans_serif_family(FONT_FAMILY);
    let fonts = Arc::new(fonts);
    let options =
        Options { font_family: FONT_FAMILY.to_owned(), fontdb: fonts, ..Options::default() };
    let tree = Tree::from_str(svg, &options).map_err(PictureError::Svg)?;
    let (width, height) = (tree.size().width() * DENSITY, tree.size().height() * DENSITY);
    let pixels = |length: f32| format!("{:.0}", length.ceil()).parse::<u32>().ok();
    let mut pixmap = pixels(width)
        .zip(pixels(height))
        .and_then(|(width, height)| Pixmap::new(width, height))
        .ok_or(PictureError::Size(width, height))?;
    resvg::render(&tree, Transform::from_scale(DENSITY, DENSITY), &mut pixmap.as_mut());
    pixmap.encode_png().map_err(|error| PictureError::Png(error.to_string()))
}

/// Whether the font of our own has it although its number is high: dashes, arrows, and the like.
fn is_sign(letter: char) -> bool {
    ('\u{2000}'..='\u{25ff}').contains(&letter)
}
