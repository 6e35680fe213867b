//! What a model wants a picture to become: its size, its colours, how it is resized and scaled.
//! It knows nothing of pixels, nor of any engine.

/// The element type of a model's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// The pixel itself, 0..=255.
    U8,
    /// The pixel minus 128, -128..=127.
    I8,
    /// The pixel as [`Scale`], mean and deviation make of it.
    F32,
}

/// The axis order of a model's input, for a batch of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// [1, channels, height, width]
    Nchw,
    /// [1, height, width, channels]
    Nhwc,
}

/// The channels of a model's input, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    Rgb,
    Bgr,
    /// One channel, ITU-R 601 luma.
    Grey,
}

impl Colour {
    pub fn channels(self) -> usize {
        match self {
            Colour::Rgb | Colour::Bgr => 3,
            Colour::Grey => 1,
        }
    }
}

/// What the range 0..=255 of a pixel becomes before mean and deviation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    ZeroTo255,
    ZeroTo1,
    MinusOneTo1,
}

/// Which part of the picture the model sees, and at what aspect ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All of it, its aspect ratio not kept.
    Stretch,
    /// Its shorter side becomes [`Resize::to`] pixels, then the centre is cut out, or padded if it is
    /// smaller: torchvision's `Resize` and `CenterCrop`.
    ShorterSide,
    /// All of it, its aspect ratio kept, the rest filled with [`Resize::pad`]: Ultralytics' `LetterBox`.
    Letterbox,
    /// The centre, not resized, or padded if the picture is smaller: torchvision's `CenterCrop`.
    CropOnly,
}

/// How pixels between pixels are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The mean of the area under a pixel: OpenCV's `INTER_AREA` where it shrinks. Antialias or not is one.
    Area,
    Nearest,
    Bilinear,
    Bicubic,
}

/// How a picture comes to the model's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resize {
    pub mode: Mode,
    /// The shorter side after `Mode::ShorterSide`, 1 to [`crate::RESIZE_TO_MAX`] pixels; the other modes
    /// ignore it.
    pub to: usize,
    pub filter: Filter,
    /// Whether a filter that shrinks widens to all the pixels that it stands for, as Pillow's and
    /// torchvision's do; without it, it looks at its neighbours only, as OpenCV's do. `Filter::Nearest`
    /// takes the pixel under the centre with it, as Pillow does, and that under the corner without.
    pub antialias: bool,
    /// What is around a picture that is smaller than the result, in the model's channel order: Ultralytics
    /// has 114, torchvision's centre crop has 0.
    pub pad: [u8; 3],
    /// Whether a JPEG is always decoded at its full size.
    pub exact: bool,
}

/// What a model wants a picture to become.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spec {
    pub element: Element,
    pub layout: Layout,
    /// Height and width, in pixels.
    pub size: [usize; 2],
    pub colour: Colour,
    pub scale: Scale,
    /// Subtracted after scaling, in the model's channel order; a grey model has the first alone.
    pub mean: [f32; 3],
    /// Divided by after that, likewise.
    pub std: [f32; 3],
    pub resize: Resize,
}

impl Spec {
    /// Returns the spec of a model that takes raw pixels, 0 to 255, squashed to its size.
    pub const fn raw(element: Element, layout: Layout, size: [usize; 2], colour: Colour) -> Spec {
        let resize = Resize {
            mode: Mode::Stretch,
            to: if size[0] < size[1] { size[0] } else { size[1] },
            filter: Filter::Area,
            antialias: true,
            pad: [0; 3],
            exact: false,
        };
        let (mean, std) = ([0.0; 3], [1.0; 3]);
        Spec { element, layout, size, colour, scale: Scale::ZeroTo255, mean, std, resize }
    }

    /// Returns the length of each axis, for a batch of one.
    pub fn shape(&self) -> [usize; 4] {
        let ([height, width], channels) = (self.size, self.colour.channels());
        match self.layout {
            Layout::Nchw => [1, channels, height, width],
            Layout::Nhwc => [1, height, width, channels],
        }
    }

    /// Returns how many values the input has: channels × height × width.
    pub fn values(&self) -> usize {
        self.size[0] * self.size[1] * self.colour.channels()
    }
}
