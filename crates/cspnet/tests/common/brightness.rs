/// A model file whose answers are plain to see: whether a photo, of rows x columns pixels, is rather dark or bright.
fn brightness(rows: u32, columns: u32) -> cspnet::formats::ModelFile {
    use cspnet::vision::{Preprocess, Resize};

    let mut b = cspnet::graph::Builder::new();
    let x = b.input(3);
    let x = b.global_avg_pool("pool", x);
    let x = b.linear("classifier", x, 2);
    let graph = b.finish(x).unwrap();
    let weight = vec![-1.0, -1.0, -1.0, 1.0, 1.0, 1.0];
    let weights = cspnet::graph::Weights::new(&graph, vec![weight, vec![0.0, 0.0]]).unwrap();
    let mut manifest = cspnet::formats::Manifest::new("brightness", graph);
    manifest.labels = vec!["dark".into(), "bright".into()];
    manifest.preprocess =
        Some(Preprocess { size: (rows, columns), resize: Resize::Stretch, ..Preprocess::torchvision() });
    cspnet::formats::ModelFile { manifest, weights }
}
