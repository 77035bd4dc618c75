//! What version 1.0 of the API does differently (spec 2.11).

use hyper::StatusCode;

use super::Dialect;

pub(super) static DIALECT: Dialect = Dialect {
    granted: "101",
    no_status: "102",
    unknown_item: "201",
    no_line_item: "301",
    insufficient: "306",
    line_item_faults: "errors",
    session_ended: StatusCode::FORBIDDEN,
    reset_frequency: false,
    formulas: false,
    charge_period: false,
};
