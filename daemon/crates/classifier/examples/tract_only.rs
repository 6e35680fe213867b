//! tract and nothing else: loads an ONNX file and runs it on zeros. Its size is the floor below which
//! no binary with tract in it can go.

use tract_onnx::prelude::*;

fn main() -> TractResult<()> {
    let path = std::env::args().nth(1).expect("an ONNX file");
    let model = tract_onnx::onnx()
        .model_for_path(path)?
        .with_input_fact(0, InferenceFact::dt_shape(DatumType::U8, [1, 3, 32, 32]))?
        .into_optimized()?
        .into_runnable()?;
    let zeros = Tensor::zero::<u8>(&[1, 3, 32, 32])?;
    println!("{:?}", model.run(tvec!(zeros.into()))?);
    Ok(())
}
