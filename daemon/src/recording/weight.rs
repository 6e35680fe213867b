//! What parsing a batch will take, known from a look at its bytes: its marks are counted, nothing is
//! parsed. It must not know what a batch means.

/// Bytes for each number or text behind a comma: a number of 64 bits in a list that grew to twice its
/// length.
const COMMA_BYTES: usize = 16;

/// Bytes for each list, which begins with room for four numbers; what the allocator adds included.
const LIST_BYTES: usize = 48;

/// Bytes for each object: a record with its origin, its place in the batch and the allocator's part of
/// its texts, or a detection in a list that grew to twice its length.
const OBJECT_BYTES: usize = 720;

/// Copies of a text that is not what it should be: the parser quotes it in its reason, which is turned
/// into another twice.
const QUOTES: usize = 4;

/// Bytes for every batch.
const FRAME_BYTES: usize = 4 << 10;

/// Returns the most bytes of heap that parsing a batch holds, its records included; the body itself is
/// not among them.
pub fn parsing_bytes(body: &[u8]) -> usize {
    let (mut commas, mut lists, mut objects) = (0, 0, 0);
    let (mut longest, mut text) = (0, 0);
    for byte in body {
        text += 1;
        match byte {
            b',' => commas += 1,
            b'[' => lists += 1,
            b'{' => objects += 1,
            b'"' => {
                longest = longest.max(text);
                text = 0;
            }
            _ => {}
        }
    }
    // Texts are copied as they are, and again while their escapes are resolved.
    2 * body.len()
        + commas * COMMA_BYTES
        + lists * LIST_BYTES
        + objects * OBJECT_BYTES
        + longest.max(text) * QUOTES
        + FRAME_BYTES
}
