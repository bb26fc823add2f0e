//! Two mixers with the same input, whose outputs are added, as in Falcon-H1.

use std::sync::Arc;

use candle_core::{Result as TensorResult, Tensor};

use super::{LayerCache, Mixer};
use crate::adapter::LayerAdapter;
use crate::error::Result;
use crate::model::Pass;
use crate::model::carried::Carried;

pub struct SideBySide<'a>(pub [Arc<dyn Mixer<'a> + 'a>; 2]);

impl<'a> Mixer<'a> for SideBySide<'a> {
    fn adapted(&self, adapter: &LayerAdapter) -> Result<Arc<dyn Mixer<'a> + 'a>> {
        let [first, second] = &self.0;
        Ok(Arc::new(Self([first.adapted(adapter)?, second.adapted(adapter)?])))
    }

    fn forward(
        &self,
        x: &Tensor,
        pass: &Pass,
        mut cache: Option<&mut LayerCache>,
        carried: &mut Carried,
    ) -> TensorResult<Tensor> {
        let [first, second] = &self.0;
        first.forward(x, pass, cache.as_deref_mut(), carried)? + second.forward(x, pass, cache, carried)?
    }
}
