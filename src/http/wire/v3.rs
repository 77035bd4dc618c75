//! What the component API does differently: how it tells what goes wrong (components 5). It shares
//! nothing else with the first API.

use super::{Dialect, v1_1};

pub(super) static DIALECT: Dialect = Dialect { failures: true, ..v1_1::DIALECT };
