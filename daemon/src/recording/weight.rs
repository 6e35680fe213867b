//! What parsing a part of a batch will take, known from a look at its bytes: its marks are counted, nothing
//! is parsed. It must not know what a batch means.

/// Bytes for each number or text behind a comma: a number of 64 bits in a list that grew to twice its
/// length.
const COMMA_BYTES: usize = 16;

/// Bytes for each list, which begins with room for four numbers; what the allocator adds included.
const LIST_BYTES: usize = 48;

/// Bytes for each object: a record with its origin and the allocator's part of its texts, or a detection in
/// a list that grew to twice its length.
const OBJECT_BYTES: usize = 720;

/// Copies of a text that is not what it should be: the parser quotes it in its reason, which is turned
/// into another twice.
const QUOTES: usize = 4;

/// Copies of a text that is what it should be, or that is skipped: it is copied as it is, and before
/// that into a buffer that grows, while its escapes are resolved.
const COPIES: usize = 3;

/// What the parser keeps for each bracket that is open, bytes, in a buffer that grows.
const BRACKET_BYTES: usize = 2;

/// Bytes beside that.
const FIRST_BYTES: usize = 4 << 10;

/// Returns the most bytes of heap that parsing a record holds, the record included; its text is not among
/// them.
pub(super) fn parsing_bytes(record: &[u8]) -> usize {
    let Marks { commas, lists, objects, longest } = Marks::of(record);
    // Texts are copied as they are, and again while their escapes are resolved.
    2 * record.len()
        + commas * COMMA_BYTES
        + lists * LIST_BYTES
        + objects * OBJECT_BYTES
        + longest * QUOTES
        + FIRST_BYTES
}

/// Returns the most bytes of heap that parsing what is around the records of a batch holds.
pub(super) fn frame_bytes(batch: &[u8]) -> usize {
    let Marks { lists, objects, longest, .. } = Marks::of(batch);
    longest * (QUOTES + COPIES) + (lists + objects) * BRACKET_BYTES + FIRST_BYTES
}

/// Marks of JSON, whether or not they are in a text.
struct Marks {
    commas: usize,
    lists: usize,
    objects: usize,
    /// The longest text, bytes.
    longest: usize,
}

impl Marks {
    fn of(json: &[u8]) -> Marks {
        let mut marks = Marks { commas: 0, lists: 0, objects: 0, longest: 0 };
        let mut text = 0;
        for byte in json {
            text += 1;
            match byte {
                b',' => marks.commas += 1,
                b'[' => marks.lists += 1,
                b'{' => marks.objects += 1,
                b'"' => {
                    marks.longest = marks.longest.max(text);
                    text = 0;
                }
                _ => {}
            }
        }
        marks.longest = marks.longest.max(text);
        marks
    }
}
