//! Copies of chosen channels in a chosen order: a shuffle that no view can express.

#[cfg(target_arch = "x86_64")]
use super::avx512_vbmi::Choice;
use super::kernel::Kernel;
use super::view::View;

/// Copies chosen channels in a chosen order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channels {
    channels: Vec<usize>,
    /// The same for registers of bytes.
    #[cfg(target_arch = "x86_64")]
    choice: Option<Choice>,
}

impl Channels {
    /// The output's channel `i` is channel `channels[i]` of the input, which has `input` of them.
    ///
    /// # Panics
    /// When it does not have such a channel.
    pub fn pack(channels: Vec<usize>, input: usize, kernel: Kernel) -> Channels {
        kernel.assert_available();
        assert!(channels.iter().all(|channel| *channel < input), "the input has the channels");
        Channels {
            #[cfg(target_arch = "x86_64")]
            choice: (kernel == Kernel::Avx512Vnni).then(|| Choice::pack(&channels, input)),
            channels,
        }
    }

    /// # Panics
    /// When the shapes don't fit or a view does not lie in its buffer.
    pub fn run(&self, input: &[u8], from: View, output: &mut [u8], to: View) {
        #[cfg(target_arch = "x86_64")]
        if let Some(choice) = &self.choice {
            return choice.run(input, from, output, to);
        }
        assert!(
            to.has_shape([from.rows, from.columns], self.channels.len()),
            "{from:?} and {to:?}"
        );
        for row in 0..to.rows {
            for column in 0..to.columns {
                let pixel = &input[from.at(row, column)..][..from.channels];
                let output = &mut output[to.at(row, column)..][..to.channels];
                for (output, channel) in output.iter_mut().zip(&self.channels) {
                    *output = pixel[*channel];
                }
            }
        }
    }
}
