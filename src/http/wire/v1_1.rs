//! What version 1.1 of the API does differently (spec 2.11).

use hyper::StatusCode;

use super::Dialect;

pub(super) static DIALECT: Dialect = Dialect {
    granted: "1001",
    no_status: "1002",
    unknown_item: "2001",
    no_line_item: "3001",
    insufficient: "3006",
    line_item_faults: "message",
    session_ended: StatusCode::CONFLICT,
    reset_frequency: true,
    formulas: true,
    charge_period: true,
};
