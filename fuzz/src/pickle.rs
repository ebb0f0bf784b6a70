//! Files of PyTorch around a pickle, and pickles that mean harm: made here, none copied.

use crate::pytorch::{Member, call, dict, global, integer, members, pickle, tensor, text, tuple, zip};

/// A zip archive with this pickle, and a storage of 24 numbers. Its checksums are 0, which PyTorch writes when told not to compute them:
/// so that what is changed in a member is read.
pub fn file(pickle: &[u8]) -> Vec<u8> {
    let unchecked: Vec<Member> = members(pickle).into_iter().map(|member| Member { crc: 0, ..member }).collect();
    zip(&unchecked)
}

/// Pickles of weights, as PyTorch writes them and otherwise.
pub fn pickles() -> Vec<Vec<u8>> {
    // Those of the network, the first not in the order in which its numbers lie.
    let weights = dict(&[
        ("conv.weight", tensor(0, &[2, 3, 1, 1], &[1, 2, 1, 1])),
        ("norm.weight", tensor(6, &[2], &[1])),
        ("norm.bias", tensor(8, &[2], &[1])),
        ("norm.running_mean", tensor(10, &[2], &[1])),
        ("norm.running_var", tensor(12, &[2], &[1])),
        ("fc.weight", tensor(14, &[3, 2], &[2, 1])),
        ("fc.bias", tensor(20, &[3], &[1])),
    ]);
    let command = |module: &str, name: &str| call(global(module, name), &[text("true")]);
    let by_text = [text("builtins"), text("eval"), vec![0x93], tuple(&[text("1")]), b"R".to_vec()].concat();
    let module = [
        call(global("torch.nn", "Linear"), &[]),
        dict(&[("_parameters", weights.clone()), ("_buffers", dict(&[])), ("_modules", dict(&[]))]),
        b"b".to_vec(),
    ];
    let tower = [
        &b"}q\x010"[..],
        &[&b"}("[..], &text("a"), b"h\x01", &text("b"), b"h\x01uq\x010"].concat().repeat(9),
        b"h\x01",
    ];
    [
        weights.clone(),
        dict(&[("state_dict", weights.clone()), ("epoch", integer(3)), ("state_dict_ema", weights)]),
        module.concat(),
        command("os", "system"),
        command("argparse", "Namespace"),
        by_text,
        tower.concat(),
        [b"(".repeat(9), b"t".repeat(9)].concat(),
        [&b"}q\x01("[..], &text("a"), b"h\x01u"].concat(),
    ]
    .map(pickle)
    .into()
}
