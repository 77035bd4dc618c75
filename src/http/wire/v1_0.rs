//! What version 1.0 of the API does differently (spec 2.11).

use hyper::StatusCode;

use super::Dialect;

pub(super) static DIALECT: Dialect = Dialect {
    status_code: |code| code,
    line_item_faults: "errors",
    session_ended: StatusCode::FORBIDDEN,
    reset_frequency: false,
    formulas: false,
    charge_period: false,
    failures: false,
};
