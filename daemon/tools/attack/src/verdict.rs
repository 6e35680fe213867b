//! What is printed: facts, and goals that were met or not.

use std::fmt::Display;

#[derive(Default)]
pub struct Verdict {
    missed: usize,
}

impl Verdict {
    pub fn title(&self, text: &str) {
        println!("\n{text}");
    }

    pub fn fact(&self, name: &str, value: impl Display) {
        println!("  {name:<44} {value}");
    }

    pub fn goal(&mut self, name: &str, value: impl Display, goal: impl Display, met: bool) {
        let mark = if met { "ok" } else { "MISSED" };
        println!("  {name:<44} {value:<24} {goal}: {mark}");
        self.missed += usize::from(!met);
    }

    pub fn holds(&self) -> bool {
        self.missed == 0
    }
}
