//! What is dropped when a boundary is chosen: layers from below, or any parts.

use super::evaluator::{Candidate, Evaluator};
use super::request::Refinement;
use super::{minimize, subset, window};
use crate::error::Result;
use crate::measure::{OnProgress, Work};
use crate::report::{Minimized, SubsetChoice, WindowChoice};

/// What is kept at full strength, and how it was found.
pub struct Refined {
    pub candidate: Candidate,
    pub subset: Option<SubsetChoice>,
    pub window: Option<WindowChoice>,
    pub minimized: Option<Minimized>,
    /// What searching cost.
    pub work: Work,
}

impl Refined {
    /// The boundary as it is.
    pub fn none(evaluator: &Evaluator, boundary: usize) -> Self {
        let candidate = evaluator.below(boundary);
        Self { candidate, subset: None, window: None, minimized: None, work: Work::default() }
    }

    /// Drops what the request allows of the layers that `boundary` keeps.
    pub fn find(evaluator: &Evaluator, boundary: usize, on_progress: OnProgress) -> Result<Self> {
        let unrefined = Self::none(evaluator, boundary);
        if boundary == 0 {
            return Ok(unrefined);
        }
        match &evaluator.request.refinement {
            None => Ok(unrefined),
            Some(Refinement::Window) => {
                let (candidate, report, work) = window::find(evaluator, boundary, on_progress)?;
                Ok(Self { candidate, window: Some(report), work, ..unrefined })
            }
            Some(Refinement::Subset(grain)) => {
                let (candidate, report, work) = subset::find(evaluator, boundary, *grain, on_progress)?;
                Ok(Self { candidate, subset: Some(report), work, ..unrefined })
            }
            Some(Refinement::Minimize(goal)) => {
                let (candidate, report, work) = minimize::find(evaluator, boundary, goal, on_progress)?;
                Ok(Self { candidate, minimized: Some(report), work, ..unrefined })
            }
        }
    }
}
