//! Tensors that do not depend on the picture: their numbers stay in the file until somebody needs them.

use std::cell::Cell;
use std::sync::Arc;

use cspnet_graph::{LazyTensor, Pieces, ReadError};

use super::data_type::DataType;
use super::dims::Integer;
use super::external::Externals;
use super::tensor;
use crate::error::FormatError;
use crate::tensors::{Bytes, Entry, Stored};

/// Numbers that are kept while a network is read, in bytes.
const MAX_MEMORY: usize = 16 << 20;

/// Work that is done on them, in numbers.
const MAX_WORK: usize = 1 << 24;

/// The files of a network.
#[derive(Debug)]
pub(super) struct Files<'a> {
    pub here: Bytes<'a>,
    pub beside: Externals,
}

/// A tensor that does not depend on the picture.
#[derive(Clone, Debug)]
pub(super) struct Constant {
    pub dims: Vec<usize>,
    pub numbers: Numbers,
}

/// Where its numbers are.
#[derive(Clone, Debug)]
pub(super) enum Numbers {
    /// In a file: `None` is the network's own.
    Stored {
        file: Option<usize>,
        kind: DataType,
        begin: usize,
    },
    /// Everywhere the same one.
    Fill(f32),
    Floats(Arc<[f32]>),
    Integers(Arc<[Integer]>),
    /// Those of another tensor, its axes in another order.
    Permuted {
        of: Arc<Constant>,
        order: Vec<usize>,
    },
    /// Those of another tensor, times a factor.
    Scaled {
        of: Arc<Constant>,
        factor: f32,
    },
}

/// Numbers that have been read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Values {
    Floats(Vec<f32>),
    Integers(Vec<Integer>),
}

/// What is left of the memory and the work that computing with constants may take.
#[derive(Debug)]
pub(super) struct Allowance {
    memory: Cell<usize>,
    work: Cell<usize>,
}

impl Allowance {
    pub(super) fn new() -> Self {
        Self { memory: Cell::new(MAX_MEMORY), work: Cell::new(MAX_WORK) }
    }

    /// Takes the work on so many numbers.
    pub(super) fn work(&self, count: usize) -> Result<(), String> {
        let left = self.work.get().checked_sub(count);
        self.work.set(left.ok_or_else(|| format!("would compute with more than {MAX_WORK} constant numbers"))?);
        Ok(())
    }

    /// Takes memory for so many numbers that are kept.
    fn keep<T>(&self, count: usize) -> Result<(), String> {
        let left = count.checked_mul(size_of::<T>()).and_then(|bytes| self.memory.get().checked_sub(bytes));
        self.memory
            .set(left.ok_or_else(|| format!("would keep more than {} MB of computed numbers", MAX_MEMORY >> 20))?);
        Ok(())
    }
}

impl Constant {
    /// Numbers that were computed, which are kept.
    pub(super) fn new(dims: Vec<usize>, values: Values, allowance: &Allowance) -> Result<Self, String> {
        let numbers = match values {
            Values::Floats(numbers) => {
                allowance.keep::<f32>(numbers.len())?;
                Numbers::Floats(numbers.into())
            }
            Values::Integers(numbers) => {
                allowance.keep::<Integer>(numbers.len())?;
                Numbers::Integers(numbers.into())
            }
        };
        Ok(Self { dims, numbers })
    }

    /// A tensor of the file, or of one of those beside it.
    pub(super) fn of(
        tensor: &tensor::Tensor,
        files: Option<&mut Externals>,
        allowance: &Allowance,
    ) -> Result<Self, String> {
        let dims = tensor.dims.clone();
        let numbers = match tensor.content.as_ref().map_err(Clone::clone)? {
            tensor::Stored::Here { kind, begin } => Numbers::Stored { file: None, kind: *kind, begin: *begin },
            tensor::Stored::Elsewhere { kind, place } => {
                let files = files.ok_or("has its numbers in another file, as only initialisers may")?;
                let bytes = tensor::count(&dims).unwrap_or(0).saturating_mul(kind.size());
                let file = files.open(&place.file, place.begin.saturating_add(bytes))?;
                Numbers::Stored { file: Some(file), kind: *kind, begin: place.begin }
            }
            tensor::Stored::Floats(numbers) => {
                return Self::new(dims, Values::Floats(numbers.clone()), allowance);
            }
            tensor::Stored::Integers(numbers) => {
                let numbers = numbers.iter().map(|&n| Integer::Known(n)).collect();
                return Self::new(dims, Values::Integers(numbers), allowance);
            }
        };
        Ok(Self { dims, numbers })
    }

    /// How many numbers there are.
    pub(super) fn len(&self) -> usize {
        tensor::count(&self.dims).unwrap_or(usize::MAX)
    }

    /// Whether the numbers lie in a file, or in memory already.
    pub(super) fn is_stored(&self) -> bool {
        match &self.numbers {
            Numbers::Stored { .. } | Numbers::Floats(_) | Numbers::Integers(_) => true,
            Numbers::Fill(_) => false,
            Numbers::Permuted { of, .. } | Numbers::Scaled { of, .. } => of.is_stored(),
        }
    }

    /// Whether they lie in a file as just these bytes, which are elements of a type.
    pub(super) fn is_stored_as(&self, kind: DataType, bytes: &[u8], files: &Files<'_>) -> Result<bool, FormatError> {
        match self.numbers {
            Numbers::Stored { file, kind: own, begin } if own == kind && self.len() * kind.size() == bytes.len() => {
                let mut stored = vec![0; bytes.len()];
                files.get(file).read(begin, &mut stored)?;
                Ok(stored == bytes)
            }
            _ => Ok(false),
        }
    }

    /// Whether they have fractions.
    pub(super) fn is_real(&self) -> bool {
        match &self.numbers {
            Numbers::Stored { kind, .. } => kind.is_real(),
            Numbers::Fill(_) | Numbers::Floats(_) => true,
            Numbers::Integers(_) => false,
            Numbers::Permuted { of, .. } | Numbers::Scaled { of, .. } => of.is_real(),
        }
    }

    /// How many times its numbers are reordered or scaled when they are read.
    pub(super) fn depth(&self) -> usize {
        match &self.numbers {
            Numbers::Permuted { of, .. } | Numbers::Scaled { of, .. } => 1 + of.depth(),
            _ => 0,
        }
    }

    /// The same numbers as another shape of as many.
    pub(super) fn with_dims(&self, dims: Vec<usize>) -> Self {
        Self { dims, numbers: self.numbers.clone() }
    }

    /// With its axes in another order.
    pub(super) fn permuted(&self, order: &[usize]) -> Self {
        let dims: Vec<usize> = order.iter().map(|&axis| self.dims[axis]).collect();
        // What has at most one side has only one order.
        match self.dims.iter().filter(|&&n| n != 1).count() {
            0 | 1 => self.with_dims(dims),
            _ => Self { dims, numbers: Numbers::Permuted { of: self.clone().into(), order: order.into() } },
        }
    }

    /// Times a factor.
    pub(super) fn scaled(self, factor: f32) -> Self {
        match factor {
            1.0 => self,
            _ => Self { dims: self.dims.clone(), numbers: Numbers::Scaled { of: self.into(), factor } },
        }
    }

    /// All numbers, as far as that is allowed.
    pub(super) fn values(&self, files: &Files<'_>, allowance: &Allowance) -> Result<Values, String> {
        allowance.work(self.len())?;
        match &self.numbers {
            Numbers::Integers(numbers) => Ok(Values::Integers(numbers.to_vec())),
            Numbers::Stored { file, kind, begin } if !kind.is_real() => {
                let read = integers(files.get(*file), *kind, *begin, self.len()).map_err(|e| e.to_string())?;
                Ok(Values::Integers(read.into_iter().map(Integer::Known).collect()))
            }
            _ => Ok(Values::Floats(self.tensor(files).to_vec().map_err(|e| e.to_string())?)),
        }
    }

    /// All numbers, which are integers.
    pub(super) fn integers(&self, files: &Files<'_>, allowance: &Allowance) -> Result<Vec<Integer>, String> {
        match self.values(files, allowance)? {
            Values::Integers(numbers) => Ok(numbers),
            Values::Floats(_) => Err("has fractions where integers should be".into()),
        }
    }

    /// All numbers, as real ones.
    pub(super) fn floats(&self, files: &Files<'_>, allowance: &Allowance) -> Result<Vec<f32>, String> {
        Ok(self.values(files, allowance)?.into_floats())
    }

    /// The number that all of them are, if it is known at once or there is only one.
    pub(super) fn scalar(&self, files: &Files<'_>, allowance: &Allowance) -> Option<f32> {
        match &self.numbers {
            Numbers::Fill(value) => Some(*value),
            _ if self.len() == 1 => self.floats(files, allowance).ok()?.first().copied(),
            _ => None,
        }
    }

    /// The numbers as a network's parameter, read when they are asked for.
    pub(super) fn tensor<'f>(&self, files: &'f Files<'_>) -> LazyTensor<'f> {
        let len = self.len();
        match &self.numbers {
            Numbers::Stored { file, kind, begin } if !kind.is_real() => {
                let (kind, begin, bytes) = (*kind, *begin, files.get(*file));
                LazyTensor::computed(len, move || {
                    let read = integers(bytes, kind, begin, len).map_err(|e| ReadError::new(bytes.blame(e)))?;
                    Ok(read.into_iter().map(|n| n as f32).collect())
                })
            }
            Numbers::Stored { file, kind, begin } => {
                let entry = Entry { name: String::new(), dtype: kind.stored(), shape: self.dims.clone() };
                let (stored, bytes) = (Stored::new(entry, *begin), files.get(*file));
                LazyTensor::new(len, move || {
                    let stored = stored.clone();
                    let pieces: Pieces<'f> = Box::new(move |first, out| {
                        let read = stored.read_numbers(bytes, first, out);
                        read.map_err(|e| ReadError::new(bytes.blame(e)))
                    });
                    Ok(pieces)
                })
            }
            &Numbers::Fill(value) => LazyTensor::new(len, move || {
                Ok(Box::new(move |_, out: &mut [f32]| {
                    out.fill(value);
                    Ok(())
                }))
            }),
            Numbers::Floats(numbers) => {
                let numbers = Arc::clone(numbers);
                LazyTensor::computed(len, move || Ok(numbers.to_vec()))
            }
            Numbers::Integers(numbers) => {
                let numbers = Arc::clone(numbers);
                LazyTensor::computed(len, move || Ok(numbers.iter().map(|&n| real(n)).collect()))
            }
            Numbers::Permuted { of, order } => {
                let (inner, sources) = (of.tensor(files), Sources::permuted(&of.dims, order));
                LazyTensor::computed(len, move || {
                    let numbers = inner.to_vec()?;
                    Ok(sources.clone().map(|source| numbers[source]).collect())
                })
            }
            Numbers::Scaled { of, factor } => {
                let factor = f64::from(*factor);
                of.tensor(files).with_rows_times(len.max(1), move || Ok(vec![factor]))
            }
        }
    }
}

impl Values {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Floats(numbers) => numbers.len(),
            Self::Integers(numbers) => numbers.len(),
        }
    }

    /// The numbers at these places.
    pub(super) fn pick(&self, places: impl Iterator<Item = usize>) -> Self {
        match self {
            Self::Floats(numbers) => Self::Floats(places.map(|i| numbers[i]).collect()),
            Self::Integers(numbers) => Self::Integers(places.map(|i| numbers[i]).collect()),
        }
    }

    /// As real numbers; what depends on the number of images is none.
    pub(super) fn into_floats(self) -> Vec<f32> {
        match self {
            Self::Floats(numbers) => numbers,
            Self::Integers(numbers) => numbers.into_iter().map(real).collect(),
        }
    }
}

fn real(integer: Integer) -> f32 {
    match integer {
        Integer::Known(value) => value as f32,
        Integer::Batch | Integer::Open => f32::NAN,
    }
}

impl Files<'_> {
    /// One of them: `None` is the network's own.
    fn get(&self, file: Option<usize>) -> &Bytes<'_> {
        match file {
            None => &self.here,
            Some(place) => self.beside.get(place),
        }
    }
}

/// Integers that lie in a file from a place on.
fn integers(file: &Bytes<'_>, kind: DataType, begin: usize, len: usize) -> Result<Vec<i64>, FormatError> {
    let mut bytes = vec![0; len * kind.size()];
    file.read(begin, &mut bytes)?;
    Ok(bytes.chunks_exact(kind.size()).map(|b| kind.integer(b)).collect())
}

/// Places of an array's numbers, row-major, one after another as another array takes them.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    /// Length and step of every axis of the other array.
    axes: Vec<(usize, isize)>,
    /// The place of its first number.
    start: usize,
    next: usize,
    count: usize,
}

impl Sources {
    /// An array of these lengths, whose numbers lie so many places apart along each axis.
    pub(super) fn new(axes: Vec<(usize, isize)>, start: usize) -> Self {
        let count = axes.iter().map(|&(len, _)| len).product();
        Self { axes, start, next: 0, count }
    }

    /// An array's axes in another order.
    pub(super) fn permuted(dims: &[usize], order: &[usize]) -> Self {
        let steps = steps(dims);
        Self::new(order.iter().map(|&axis| (dims[axis], steps[axis])).collect(), 0)
    }

    /// An array repeated along its axes of length 1 to a shape of as many axes.
    pub(super) fn repeated(dims: &[usize], to: &[usize]) -> Self {
        let steps = steps(dims);
        let axis = |i: usize| (to[i], if dims[i] == 1 { 0 } else { steps[i] });
        Self::new((0..to.len()).map(axis).collect(), 0)
    }
}

/// How many places further the next number along every axis lies.
pub(super) fn steps(dims: &[usize]) -> Vec<isize> {
    let mut steps = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        steps[axis - 1] = steps[axis] * dims[axis] as isize;
    }
    steps
}

impl Iterator for Sources {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.next == self.count {
            return None;
        }
        let mut rest = self.next;
        self.next += 1;
        let way: isize = self
            .axes
            .iter()
            .rev()
            .map(|&(len, step)| {
                let at = rest % len;
                rest /= len;
                step * at as isize
            })
            .sum();
        self.start.checked_add_signed(way)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count - self.next, Some(self.count - self.next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_the_axes() {
        let all = |sources: Sources| sources.collect::<Vec<_>>();
        assert_eq!(all(Sources::permuted(&[2, 3], &[1, 0])), [0, 3, 1, 4, 2, 5]);
        assert_eq!(all(Sources::repeated(&[2, 1], &[2, 3])), [0, 0, 0, 1, 1, 1]);
        assert_eq!(all(Sources::new(vec![(3, -2)], 4)), [4, 2, 0]);
        assert_eq!(all(Sources::new(vec![(3, 1), (0, 1)], 4)), [0; 0]);
        assert_eq!(all(Sources::new(vec![], 0)), [0]);
    }

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
        let integers =
            Constant { dims: vec![24], numbers: Numbers::Stored { file: None, kind: DataType::Int8, begin: 0 } };
        let values = integers.integers(&files, &allowance).unwrap();
        assert_eq!(values[..8], [0, 0, 0, 0, 0, 0, -128, 63].map(Integer::Known));
    }
}
