//! The variables of one call of a function: the template itself, a macro, or a recursive loop.

use std::cell::RefCell;
use std::rc::Rc;

use super::syntax::VariablePlace;
use super::value::Value;

#[derive(Debug)]
pub struct Variables {
    slots: RefCell<Vec<Option<Value>>>,
    outer: Option<Rc<Variables>>,
}

impl Variables {
    pub fn new(slots: usize, outer: Option<Rc<Variables>>) -> Rc<Self> {
        Rc::new(Self { slots: RefCell::new(vec![None; slots]), outer })
    }

    fn at(&self, hops: usize) -> Option<&Self> {
        (0..hops).try_fold(self, |variables, _| variables.outer.as_deref())
    }

    pub fn get(&self, place: VariablePlace) -> Option<Value> {
        self.at(place.hops)?.slots.borrow().get(place.slot)?.clone()
    }

    /// Sets a variable; `None` makes it undefined.
    pub fn set(&self, place: VariablePlace, value: Option<Value>) {
        let Some(variables) = self.at(place.hops) else { return };
        if let Some(slot) = variables.slots.borrow_mut().get_mut(place.slot) {
            *slot = value;
        }
    }
}
