//! Small ONNX files written by hand, field by field (<https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3>).

/// An open dimension, which has a name as PyTorch gives it.
pub const OPEN: i64 = -1;

/// Bytes of a field, or of several.
pub type Fields = Vec<u8>;

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A field that is a text, bytes or a message.
fn field(number: u64, content: &[u8]) -> Fields {
    [varint(number << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

fn integer(number: u64, value: i64) -> Fields {
    [varint(number << 3), varint(value as u64)].concat()
}

fn attribute(name: &str, value: Fields) -> Fields {
    field(5, &[field(1, name.as_bytes()), value].concat())
}

/// An attribute of a node.
pub fn int(name: &str, value: i64) -> Fields {
    attribute(name, [integer(3, value), integer(20, 2)].concat())
}

/// An attribute of a node.
pub fn ints(name: &str, values: &[i64]) -> Fields {
    let values = values.iter().flat_map(|&value| integer(8, value));
    attribute(name, values.chain(integer(20, 7)).collect())
}

/// An attribute of a node.
pub fn float(name: &str, value: f32) -> Fields {
    attribute(name, [varint(2 << 3 | 5), value.to_le_bytes().to_vec(), integer(20, 1)].concat())
}

/// A node, which is called as its first output.
pub fn node(operator: &str, inputs: &[&str], outputs: &[&str], attributes: &[Fields]) -> Fields {
    let inputs = inputs.iter().flat_map(|name| field(1, name.as_bytes()));
    let outputs = outputs.iter().flat_map(|name| field(2, name.as_bytes()));
    let rest = [field(4, operator.as_bytes()), attributes.concat()].concat();
    field(1, &inputs.chain(outputs).chain(rest).collect::<Vec<u8>>())
}

/// A tensor of the graph, `kind` is its type.
fn tensor(name: &str, kind: i64, dims: &[i64], content: Fields) -> Fields {
    let dims = dims.iter().flat_map(|&n| integer(1, n));
    let rest = [integer(2, kind), field(8, name.as_bytes()), content].concat();
    field(5, &dims.chain(rest).collect::<Vec<u8>>())
}

/// Numbers of single precision.
pub fn floats(name: &str, dims: &[i64], numbers: &[f32]) -> Fields {
    tensor(name, 1, dims, field(9, &numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>()))
}

/// Integers in a row.
pub fn list(name: &str, numbers: &[i64]) -> Fields {
    tensor(
        name,
        7,
        &[numbers.len() as i64],
        field(9, &numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>()),
    )
}

/// A single integer.
pub fn whole(name: &str, number: i64) -> Fields {
    tensor(name, 7, &[], field(9, &number.to_le_bytes()))
}

/// Halves by their bits, as integers of varying length (`int32_data`).
pub fn halves(name: &str, dims: &[i64], bits: &[u16]) -> Fields {
    tensor(name, 10, dims, field(5, &bits.iter().flat_map(|&n| varint(n.into())).collect::<Vec<u8>>()))
}

/// Something that the network takes (11) or gives (12).
fn info(number: u64, name: &str, dims: &[i64]) -> Fields {
    let side = |&n: &i64| field(1, &if n == OPEN { field(2, b"batch") } else { integer(1, n) });
    let shape = field(2, &dims.iter().flat_map(side).collect::<Vec<u8>>());
    let kind = field(1, &[integer(1, 1), shape].concat());
    field(number, &[field(1, name.as_bytes()), field(2, &kind)].concat())
}

/// A file with the input `x` of these dimensions and the output `y`.
pub fn file(opset: i64, dims: &[i64], parts: &[Fields]) -> Vec<u8> {
    let graph = [parts.concat(), info(11, "x", dims), info(12, "y", &[])].concat();
    [integer(1, 8), field(8, &integer(2, opset)), field(7, &graph)].concat()
}
