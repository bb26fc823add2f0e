//! What differs between the CPU and other devices: whether this crate's own code runs there, and matrix products by candle.
//!
//! A GPU is rarely at hand. `LORA_SLIM_UNIT=gpu` makes the CPU stand in for one: everything takes the way that it takes on a GPU, and
//! what a GPU refuses is refused, that is, operations that exist for the CPU alone, and products of matrices in an order of values
//! that cuBLAS does not know. So the tests cover that way on any machine; what they cannot show is how the GPU rounds.

use std::sync::{Mutex, OnceLock, PoisonError};

use candle_core::{DType, Device, Layout, Result, Tensor, cuda};

/// Whether this crate's own code for the CPU runs on a device.
pub fn is_ours(device: &Device) -> bool {
    device.is_cpu() && !stands_in()
}

/// Whether the CPU stands in for a GPU.
pub fn stands_in() -> bool {
    static STANDS_IN: OnceLock<bool> = OnceLock::new();
    *STANDS_IN.get_or_init(|| std::env::var("LORA_SLIM_UNIT").is_ok_and(|unit| unit == "gpu"))
}

/// Refuses an operation that exists for the CPU alone, where the CPU stands in for a GPU.
pub fn require_cpu(operation: &str) -> Result<()> {
    match stands_in() {
        true => candle_core::bail!("{operation} exists for the CPU alone"),
        false => Ok(()),
    }
}

/// a·b in f32: (…, m, k) and (…, k, n) → (…, m, n).
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    in_units(a, b, false)
}

/// x·W for x (rows, inputs) in f32 and W (inputs, outputs) in f32 whose values are bf16, by tensor cores: (rows, outputs).
///
/// Tensor cores round f32 inputs to TF32, 11 significant bits, and sum in f32. Values of bf16 have 8, so W stays as it is, and x goes
/// as two parts, its bf16 value and the rest: what is lost of x is at most 2⁻⁸·2⁻¹¹ of it. One tall product takes both.
pub fn split_product(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let rows = x.dim(0)?;
    let high = x.to_dtype(DType::BF16)?.to_dtype(DType::F32)?;
    let low = (x - &high)?;
    let both = in_units(&Tensor::cat(&[&high, &low], 0)?, weight, true)?;
    both.narrow(0, 0, rows)? + both.narrow(0, rows, rows)?
}

/// A product by the f32 units, or by tensor cores that round to TF32. candle has one switch for the process, so no other product may
/// begin while it is set.
fn in_units(a: &Tensor, b: &Tensor, by_tensor_cores: bool) -> Result<Tensor> {
    static SWITCH: Mutex<()> = Mutex::new(());
    if stands_in() {
        check_order(a.layout(), false)?;
        check_order(b.layout(), true)?;
    }
    if a.device().is_cpu() {
        return a.matmul(b);
    }
    let _alone = SWITCH.lock().unwrap_or_else(PoisonError::into_inner);
    cuda::set_gemm_reduced_precision_f32(by_tensor_cores);
    let product = a.matmul(b);
    cuda::set_gemm_reduced_precision_f32(false);
    product
}

/// Whether cuBLAS knows the order of a factor's values: rows or columns without gaps, and batches at equal distances.
fn check_order(layout: &Layout, is_right: bool) -> Result<()> {
    let (dims, stride) = (layout.dims(), layout.stride());
    let &[.., rows, columns] = dims else { candle_core::bail!("a product of a tensor of {} dimensions", dims.len()) };
    let &[.., by_row, by_column] = stride else { candle_core::bail!("a tensor without strides") };
    if layout.shape().elem_count() == 0 {
        candle_core::bail!("a product of an empty tensor, which a GPU refuses")
    }
    let in_rows = (by_column == 1 || columns == 1) && (by_row == columns || rows == 1);
    let in_columns = (by_column == rows || columns == 1) && (by_row == 1 || rows == 1);
    let is_even = match (&dims[..dims.len() - 2], &stride[..stride.len() - 2]) {
        ([], _) | ([_], _) => true,
        (&[outer, inner], &[by_outer, by_inner]) => outer == 1 || inner == 1 || by_outer == by_inner * inner,
        _ => false,
    };
    if !(in_rows || in_columns) || !is_even {
        let side = if is_right { "right" } else { "left" };
        candle_core::bail!("the {side} factor of a product has strides {stride:?} for {dims:?}, which a GPU refuses")
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a tensor core makes of a value: 11 significant bits, to nearest.
    fn tf32(value: f32) -> f32 {
        let bits = value.to_bits();
        f32::from_bits((bits + 0xfff + ((bits >> 13) & 1)) & !0x1fff)
    }

    #[test]
    fn two_parts_lose_little_even_where_tensor_cores_round() -> Result<()> {
        let x = Tensor::randn(0f32, 1.0, (5, 64), &Device::Cpu)?;
        let weight = Tensor::randn(0f32, 1.0, (64, 7), &Device::Cpu)?.to_dtype(DType::BF16)?.to_dtype(DType::F32)?;
        let wide = |tensor: &Tensor| tensor.to_dtype(DType::F64);
        let exact = wide(&x)?.matmul(&wide(&weight)?)?;
        let error = |y: &Tensor| (wide(y)? - &exact)?.abs()?.max_all()?.to_scalar::<f64>();
        assert!(error(&split_product(&x, &weight)?)? < 1e-5);
        let round = |tensor: &Tensor| -> Result<Tensor> {
            let values: Vec<f32> = tensor.flatten_all()?.to_vec1::<f32>()?.into_iter().map(tf32).collect();
            Tensor::from_vec(values, tensor.shape(), &Device::Cpu)
        };
        assert_eq!(round(&weight)?.to_vec2::<f32>()?, weight.to_vec2::<f32>()?);
        let high = x.to_dtype(DType::BF16)?.to_dtype(DType::F32)?;
        let rounded = (round(&high)?.matmul(&weight)? + round(&(&x - &high)?)?.matmul(&weight)?)?;
        let single = round(&x)?.matmul(&weight)?;
        assert!(error(&rounded)? < 2e-5, "{}", error(&rounded)?);
        assert!(error(&single)? > 20.0 * error(&rounded)?, "{} and {}", error(&single)?, error(&rounded)?);
        Ok(())
    }

    #[test]
    fn orders_that_cublas_does_not_know_are_told() -> Result<()> {
        let order = |tensor: &Tensor| check_order(tensor.layout(), true).is_ok();
        let whole = Tensor::zeros((4, 6, 8), DType::F32, &Device::Cpu)?;
        assert!(order(&whole) && order(&whole.transpose(1, 2)?) && order(&whole.narrow(0, 1, 2)?));
        assert!(order(&whole.narrow(1, 2, 3)?) && order(&whole.narrow(2, 0, 1)?.narrow(1, 0, 1)?));
        assert!(!order(&whole.narrow(2, 0, 3)?) && !order(&whole.transpose(0, 1)?));
        let heads = Tensor::zeros((2, 3, 4, 5), DType::F32, &Device::Cpu)?;
        assert!(order(&heads) && order(&heads.transpose(2, 3)?));
        assert!(!order(&heads.transpose(0, 1)?) && !order(&heads.transpose(1, 2)?));
        Ok(())
    }
}
