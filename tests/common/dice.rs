//! Random choices that a seed repeats.

/// The variable that sets the seed of every random test.
pub const SEED: &str = "FAREBOX_SEED";

/// The seed to begin with: that of the environment, or `usual`. Prints it.
pub fn seed(usual: u64) -> u64 {
    let given = std::env::var(SEED).ok();
    let given = given.map(|text| text.parse().unwrap_or_else(|_| panic!("{SEED} is a number")));
    let seed = given.unwrap_or(usual);
    println!("{SEED}={seed}");
    seed
}

/// Whether the long form was asked for.
pub fn is_long() -> bool {
    std::env::var_os("FAREBOX_LONG").is_some()
}

/// SplitMix64: small, and every seed gives another sequence.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// Dice of their own for a part of the test.
    pub fn fork(&self, part: u64) -> Dice {
        Dice(mixed(self.0 ^ mixed(part.wrapping_add(1))))
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// A number from 0 up to, not including, `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let index = usize::try_from(self.below(from.len() as u64)).expect("an index");
        from.get(index).expect("an index below the length")
    }
}

/// A number as unlike its neighbours' as can be.
pub fn mixed(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
