//! `picket-kernels-bench`: what this core can do, and what the kernels make of it, without a daemon.
//!
//! ```text
//! picket-kernels-bench peak                       products per second of each kernel's instruction
//! picket-kernels-bench operators [KERNEL]         what is no convolution
//! picket-kernels-bench layers [KERNEL [IMAGES [NETWORK]]]     each convolution of a network
//! ```
//!
//! `./dev bench model` runs the first; docs/kernels.md counts the instructions of the second.

mod layers;
mod operators;
mod peak;

use picket_kernels::Kernel;

const IMAGES: usize = 1000;
const NETWORK: &str = "embedded";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["peak"] => peak::print(),
        ["operators"] => operators::print(Kernel::best()),
        ["operators", kernel] => operators::print(named(kernel)),
        ["layers"] => layers(Kernel::best(), IMAGES, NETWORK),
        ["layers", kernel] => layers(named(kernel), IMAGES, NETWORK),
        ["layers", kernel, images] => layers(named(kernel), number(images), NETWORK),
        ["layers", kernel, images, network] => layers(named(kernel), number(images), network),
        _ => {
            eprintln!(
                "usage: picket-kernels-bench peak | operators [KERNEL] | layers [KERNEL [IMAGES [NETWORK]]]\n\
                 networks: embedded resnet18 mobilenetv2 squeezenet fives"
            );
            std::process::exit(64);
        }
    }
}

fn named(name: &str) -> Kernel {
    let kernel = Kernel::ALL.into_iter().find(|kernel| kernel.name() == name);
    kernel
        .filter(|kernel| kernel.is_available())
        .unwrap_or_else(|| stop(&format!("this CPU has no kernel {name}")))
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or_else(|_| stop(&format!("{text} is no number of images")))
}

fn layers(kernel: Kernel, images: usize, network: &str) {
    let layers = layers::network(network).unwrap_or_else(|| stop(&format!("no network {network}")));
    // A run that counts instructions measures no peak.
    let peak = if images < IMAGES { None } else { peak::of(kernel) };
    layers::print(layers, kernel, images, peak);
}

fn stop(why: &str) -> ! {
    eprintln!("picket-kernels-bench: {why}");
    std::process::exit(64)
}
