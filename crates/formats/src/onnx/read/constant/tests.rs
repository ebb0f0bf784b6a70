//! Numbers of constants, at once and in pieces.

use super::*;

#[test]
fn numbers_are_read_when_they_are_asked_for() {
    let bytes: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let files = Files { here: Bytes::Memory(&bytes), beside: Externals::default() };
    let stored =
        Constant { dims: vec![2, 3], numbers: Numbers::Stored { file: None, kind: DataType::Float, begin: 0 } };
    let numbers = |c: &Constant| c.tensor(&files).to_vec().unwrap();
    assert_eq!(numbers(&stored), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(numbers(&stored.permuted(&[1, 0])), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(numbers(&stored.clone().scaled(2.0).permuted(&[1, 0])), [0.0, 6.0, 2.0, 8.0, 4.0, 10.0]);
    let fill = Constant { dims: vec![1 << 20, 1 << 12], numbers: Numbers::Fill(0.5) };
    let mut piece = [0.0; 3];
    fill.tensor(&files).open().unwrap()(1 << 31, &mut piece).unwrap();
    assert_eq!(piece, [0.5; 3]);
    let allowance = Allowance::new();
    assert!(fill.values(&files, &allowance).unwrap_err().contains("constant numbers"));
    let integers = Constant { dims: vec![24], numbers: Numbers::Stored { file: None, kind: DataType::Int8, begin: 0 } };
    let values = integers.integers(&files, &allowance).unwrap();
    assert_eq!(values[..8], [0, 0, 0, 0, 0, 0, -128, 63].map(Integer::Known));
    assert_eq!(numbers(&integers)[6..8], [-128.0, 63.0]);
}

#[test]
fn orders_upon_orders_are_read_at_once_and_in_pieces() {
    let listed = |n: i64| Numbers::Listed(Arc::new((0..n).collect()));
    let first = Constant { dims: vec![2, 3, 4], numbers: listed(24) }.permuted(&[2, 0, 1]);
    let twice = first.with_dims(vec![3, 8]).permuted(&[1, 0]).scaled(2.0);
    let files = Files { here: Bytes::Memory(&[]), beside: Externals::default() };
    let of_first = |place: usize| place % 6 * 4 + place / 6;
    let expected: Vec<f32> = (0..24).map(|i| 2.0 * of_first(i % 3 * 8 + i / 3) as f32).collect();
    let tensor = twice.tensor(&files);
    assert_eq!(tensor.to_vec().unwrap(), expected);
    let pieces = tensor.open().unwrap();
    for begin in (0..24).step_by(5) {
        let mut piece = vec![0.0; 5.min(24 - begin)];
        pieces(begin, &mut piece).unwrap();
        assert_eq!(piece, expected[begin..][..piece.len()]);
    }
    // Integers stay integers.
    let allowance = Allowance::new();
    let turned = Constant { dims: vec![2, 2], numbers: listed(4) }.permuted(&[1, 0]);
    assert_eq!(turned.integers(&files, &allowance).unwrap(), [0, 2, 1, 3].map(Integer::Known));
}
