//! What tests of files that mean harm share: what holds of all that are refused, and files of PyTorch.
#![allow(dead_code, reason = "each test binary compiles this module and uses a part of it")]

mod pytorch;

use allocation_counter::measure;
use cspnet_formats::{FormatError, Matching, read_published_bytes};
use cspnet_graph::{Builder, Conv, Graph, Weights};
pub use pytorch::*;

/// A network with one parameter, `conv.weight`, of shape `[2, 3, 1, 1]`.
pub fn graph() -> Graph {
    let mut b = Builder::new();
    let x = b.input(3);
    let x = b.conv("conv", x, Conv::new(2, 1));
    b.finish(x).unwrap()
}

pub fn read(bytes: &[u8]) -> Result<(Weights, Matching), FormatError> {
    read_published_bytes(bytes, &graph())
}

/// What a reader says of so many bytes that it refuses, while it takes no more memory than is promised.
pub fn refusal_of<T>(len: usize, read: impl Fn() -> Result<T, FormatError>) -> String {
    let mut error = String::new();
    let taken = measure(|| error = read().err().expect("it is refused").to_string()).bytes_max;
    assert!(taken <= len as u64 + (64 << 20), "{} MB for {} MB: {error:.400}", taken >> 20, len >> 20);
    assert!(!error.contains(char::is_control) && error.len() < 2000, "{} bytes: {error:.400?}", error.len());
    error
}

/// What is said of a file of PyTorch that cannot be used.
pub fn refusal(bytes: &[u8]) -> String {
    refusal_of(bytes.len(), || read(bytes))
}

/// Refused, and for the reason that is meant.
pub fn refused(bytes: &[u8], reason: &str) {
    let error = refusal(bytes);
    assert!(error.contains(reason), "{error}\ninstead of: {reason}");
}

/// A file whose `conv.weight` is this value.
pub fn weight(value: Vec<u8>) -> Vec<u8> {
    file(&pickle(dict(&[("conv.weight", value)])))
}

pub fn first(bytes: &[u8]) -> Vec<f32> {
    read(bytes).unwrap().0.get(0).to_vec()
}
