//! The state of a loop, which is a value of the template: `loop`.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::frames::Variables;
use super::syntax::For;
use super::value::{Iterator, Value};

/// The state of a loop.
#[derive(Debug)]
pub struct Loop {
    pub node: Arc<For>,
    pub items: RefCell<Rc<Iterator>>,
    /// Whether the loop's condition has accepted all items that are left.
    pub accepted: Cell<bool>,
    pub length: Cell<Option<usize>>,
    /// The variables of the loop's condition, which are also those around a recursive loop.
    pub outer: Weak<Variables>,
    pub depth: usize,
    /// The number of items that were taken.
    pub taken: Cell<usize>,
    pub after: RefCell<Option<Value>>,
    pub current: RefCell<Option<Value>>,
    pub before: RefCell<Option<Value>>,
    pub changed: RefCell<Option<Value>>,
}
