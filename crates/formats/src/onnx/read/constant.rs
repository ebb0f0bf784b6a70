//! Tensors that do not depend on the picture: their numbers stay in the file until somebody needs them.

use std::sync::{Arc, Mutex, PoisonError};

use cspnet_graph::{LazyTensor, Pieces, ReadError};

use super::allowance::{Allowance, Loan};
use super::data_type::DataType;
use super::dims::Integer;
use super::external::Externals;
use super::sources::Sources;
use super::wire::Span;
use super::{standardised, tensor, varints};
use crate::error::FormatError;
use crate::tensors::{Bytes, Entry, Stored};

#[cfg(test)]
mod tests;

/// Longest list of lengths, axes or places, which operators take one by one.
pub(super) const MAX_LIST: usize = 1 << 16;

/// Numbers that are read or moved at a time.
const CHUNK: usize = 4096;

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
    /// In the network's file, as bits of 16 that are integers of varying length.
    Varints {
        kind: DataType,
        place: Span,
    },
    /// Everywhere the same one.
    Fill(f32),
    Floats(Arc<Vec<f32>>),
    Integers(Arc<Vec<Integer>>),
    /// Integers of the file that were not stored as bytes.
    Listed(Arc<Vec<i64>>),
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
    /// Those of another tensor in rows, each less its mean and over its deviation, then times its scale plus its shift.
    Standardised {
        of: Arc<Constant>,
        scale: Arc<Constant>,
        shift: Arc<Constant>,
        eps: f64,
    },
}

/// Numbers that have been read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Values {
    Floats(Vec<f32>),
    Integers(Vec<Integer>),
}

impl Constant {
    /// Numbers that were computed, which are kept; they were made with memory that was lent.
    pub(super) fn new(dims: Vec<usize>, values: Values, loan: Loan<'_>) -> Self {
        let numbers = match values {
            Values::Floats(mut numbers) => {
                // It may lie where wider numbers were.
                numbers.shrink_to_fit();
                loan.keep(size_of_val(&numbers[..]));
                Numbers::Floats(numbers.into())
            }
            Values::Integers(mut numbers) => {
                numbers.shrink_to_fit();
                loan.keep(size_of_val(&numbers[..]));
                Numbers::Integers(numbers.into())
            }
        };
        Self { dims, numbers }
    }

    /// As many integers as a shape has, in a row, or a single one.
    pub(super) fn few(dims: Vec<usize>, numbers: Vec<Integer>) -> Self {
        Self { dims, numbers: Numbers::Integers(numbers.into()) }
    }

    /// A tensor of the file, or of one of those beside it.
    pub(super) fn of(tensor: &tensor::Tensor, files: Option<&mut Externals>) -> Result<Self, String> {
        let dims = tensor.dims.clone();
        let numbers = match tensor.content.as_ref().map_err(Clone::clone)? {
            tensor::Stored::Here { kind, begin } => Numbers::Stored { file: None, kind: *kind, begin: *begin },
            tensor::Stored::Elsewhere { kind, place } => {
                let files = files.ok_or("has its numbers in another file, as only initialisers may")?;
                let bytes = tensor::count(&dims).unwrap_or(0).saturating_mul(kind.size());
                let file = files.open(&place.file, place.begin.saturating_add(bytes))?;
                Numbers::Stored { file: Some(file), kind: *kind, begin: place.begin }
            }
            tensor::Stored::Listed { kind, place } => Numbers::Varints { kind: *kind, place: *place },
            tensor::Stored::Floats(numbers) => Numbers::Floats(Arc::clone(numbers)),
            tensor::Stored::Integers(numbers) => Numbers::Listed(Arc::clone(numbers)),
        };
        Ok(Self { dims, numbers })
    }

    /// Bytes that it has beside itself, without its numbers.
    pub(super) fn beside(&self) -> usize {
        let one = |of: &Self| 2 * size_of::<Self>() + 3 * size_of_val(&of.dims[..]);
        let of = match &self.numbers {
            Numbers::Permuted { of, .. } | Numbers::Scaled { of, .. } => one(of),
            Numbers::Standardised { of, scale, shift, .. } => one(of) + one(scale) + one(shift),
            _ => 0,
        };
        size_of_val(&self.dims[..]) + of
    }

    /// How many numbers there are.
    pub(super) fn len(&self) -> usize {
        tensor::count(&self.dims).unwrap_or(usize::MAX)
    }

    /// Whether the numbers lie in a file, or in memory already.
    pub(super) fn is_stored(&self) -> bool {
        match &self.numbers {
            Numbers::Stored { .. } | Numbers::Varints { .. } => true,
            Numbers::Floats(_) | Numbers::Integers(_) | Numbers::Listed(_) => true,
            Numbers::Fill(_) => false,
            Numbers::Permuted { of, .. } | Numbers::Scaled { of, .. } | Numbers::Standardised { of, .. } => {
                of.is_stored()
            }
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
            Numbers::Varints { .. } | Numbers::Fill(_) | Numbers::Floats(_) => true,
            Numbers::Integers(_) | Numbers::Listed(_) => false,
            Numbers::Permuted { of, .. } => of.is_real(),
            Numbers::Scaled { .. } | Numbers::Standardised { .. } => true,
        }
    }

    /// How many times its numbers are reordered or scaled when they are read.
    pub(super) fn depth(&self) -> usize {
        match &self.numbers {
            Numbers::Permuted { of, .. } | Numbers::Scaled { of, .. } | Numbers::Standardised { of, .. } => {
                1 + of.depth()
            }
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

    /// All numbers, as far as that is allowed, and the memory they take.
    pub(super) fn values<'a>(&self, files: &Files<'_>, allowance: &'a Allowance) -> Result<(Values, Loan<'a>), String> {
        let len = self.len();
        allowance.work(len.saturating_mul(1 + self.depth()))?;
        if let (Numbers::Permuted { of, order }, false) = (&self.numbers, self.is_real()) {
            let (inner, _lent) = of.values(files, allowance)?;
            return inner.pick(len, Sources::permuted(&of.dims, order), allowance);
        }
        let loan = match self.is_real() {
            true => allowance.lend::<f32>(len)?,
            false => allowance.lend::<Integer>(len)?,
        };
        let values = match &self.numbers {
            Numbers::Integers(numbers) => Values::Integers(numbers.to_vec()),
            Numbers::Listed(numbers) => Values::Integers(numbers.iter().map(|&n| Integer::Known(n)).collect()),
            Numbers::Stored { file, kind, begin } if !kind.is_real() => {
                let mut numbers = Vec::with_capacity(len);
                let read = integers(files.get(*file), *kind, *begin, len, |n| numbers.push(Integer::Known(n)));
                read.map_err(|e| e.to_string())?;
                Values::Integers(numbers)
            }
            _ => Values::Floats(self.tensor(files).to_vec().map_err(|e| e.to_string())?),
        };
        Ok((values, loan))
    }

    /// A list of integers, which is not long.
    pub(super) fn integers(&self, files: &Files<'_>, allowance: &Allowance) -> Result<Vec<Integer>, String> {
        match self.list(files, allowance)? {
            Values::Integers(numbers) => Ok(numbers),
            Values::Floats(_) => Err("has fractions where integers should be".into()),
        }
    }

    /// A list of real numbers, which is not long.
    pub(super) fn floats(&self, files: &Files<'_>, allowance: &Allowance) -> Result<Vec<f32>, String> {
        Ok(self.list(files, allowance)?.into_floats())
    }

    fn list(&self, files: &Files<'_>, allowance: &Allowance) -> Result<Values, String> {
        check_list(self.len())?;
        Ok(self.values(files, allowance)?.0)
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
                LazyTensor::new(len, move || {
                    let pieces: Pieces<'f> = Box::new(move |first, out: &mut [f32]| {
                        let (begin, len, mut slots) = (begin + first * kind.size(), out.len(), out.iter_mut());
                        let put = |n: i64| slots.next().into_iter().for_each(|slot| *slot = n as f32);
                        integers(bytes, kind, begin, len, put).map_err(|e| ReadError::new(bytes.blame(e)))
                    });
                    Ok(pieces)
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
            Numbers::Varints { kind, place } => varints::tensor(files.get(None), *kind, *place, len),
            &Numbers::Fill(value) => LazyTensor::new(len, move || {
                Ok(Box::new(move |_, out: &mut [f32]| {
                    out.fill(value);
                    Ok(())
                }))
            }),
            Numbers::Floats(numbers) => held(numbers, |n| n),
            Numbers::Integers(numbers) => held(numbers, real),
            Numbers::Listed(numbers) => held(numbers, |n| n as f32),
            Numbers::Permuted { .. } => self.reordered(files),
            Numbers::Standardised { of, scale, shift, eps } => {
                let [of, scale, shift] = [of, scale, shift].map(|constant| constant.tensor(files));
                standardised::tensor(of, scale, shift, *eps)
            }
            Numbers::Scaled { of, factor } => {
                let factor = f64::from(*factor);
                of.tensor(files).with_rows_times(len.max(1), move || Ok(vec![factor]))
            }
        }
    }

    /// Numbers whose axes are in another order. Where all are asked for at once, they are read as they lie and put where they belong,
    /// so that none is in memory twice; for pieces they are held until the last piece has been read.
    fn reordered<'f>(&self, files: &'f Files<'_>) -> LazyTensor<'f> {
        let (mut sources, mut targets, mut root) = (Vec::new(), Vec::new(), self);
        while let Numbers::Permuted { of, order } = &root.numbers {
            sources.push(Sources::permuted(&of.dims, order));
            targets.push(Sources::permuted_back(&of.dims, order));
            root = of;
        }
        let (len, inner) = (self.len(), root.tensor(files));
        LazyTensor::new(len, move || {
            let (sources, targets, pieces) = (sources.clone(), targets.clone(), inner.open()?);
            let held: Mutex<Option<Arc<Vec<f32>>>> = Mutex::new(None);
            let reordered: Pieces<'f> = Box::new(move |first: usize, out: &mut [f32]| {
                if out.len() == len {
                    let mut chunk = [0.0; CHUNK];
                    for begin in (0..len).step_by(CHUNK) {
                        let chunk = &mut chunk[..CHUNK.min(len - begin)];
                        pieces(begin, chunk)?;
                        for (place, &number) in (begin..).zip(&*chunk) {
                            out[targets.iter().rev().fold(place, |place, way| way.at(place))] = number;
                        }
                    }
                    return Ok(());
                }
                let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
                let numbers = match &*held {
                    Some(numbers) => Arc::clone(numbers),
                    None => {
                        let mut numbers = vec![0.0; len];
                        pieces(0, &mut numbers)?;
                        Arc::clone(held.insert(Arc::new(numbers)))
                    }
                };
                drop(held);
                for (place, slot) in (first..).zip(out) {
                    *slot = numbers[sources.iter().fold(place, |place, way| way.at(place))];
                }
                Ok(())
            });
            Ok(reordered)
        })
    }
}

impl Values {
    /// So many of the numbers, those at these places, and the memory they take.
    pub(super) fn pick<'a>(
        &self,
        count: usize,
        places: impl Iterator<Item = usize>,
        allowance: &'a Allowance,
    ) -> Result<(Self, Loan<'a>), String> {
        Ok(match self {
            Self::Floats(numbers) => {
                let (loan, mut picked) = (allowance.lend::<f32>(count)?, Vec::with_capacity(count));
                picked.extend(places.take(count).map(|i| numbers[i]));
                (Self::Floats(picked), loan)
            }
            Self::Integers(numbers) => {
                let (loan, mut picked) = (allowance.lend::<Integer>(count)?, Vec::with_capacity(count));
                picked.extend(places.take(count).map(|i| numbers[i]));
                (Self::Integers(picked), loan)
            }
        })
    }

    /// As real numbers; what depends on the number of images is none.
    pub(super) fn into_floats(self) -> Vec<f32> {
        match self {
            Self::Floats(numbers) => numbers,
            Self::Integers(numbers) => numbers.into_iter().map(real).collect(),
        }
    }

    /// One of them as a real number.
    pub(super) fn real(&self, place: usize) -> f32 {
        match self {
            Self::Floats(numbers) => numbers[place],
            Self::Integers(numbers) => real(numbers[place]),
        }
    }
}

fn real(integer: Integer) -> f32 {
    match integer {
        Integer::Known(value) => value as f32,
        Integer::Batch | Integer::Open => f32::NAN,
    }
}

/// Whether a list of so many numbers is read.
pub(super) fn check_list(len: usize) -> Result<(), String> {
    match len {
        0..=MAX_LIST => Ok(()),
        _ => Err(format!("takes a list of {len} numbers; at most {MAX_LIST} are read")),
    }
}

/// Numbers in memory.
fn held<'f, T: Copy + Send + Sync + 'f>(numbers: &Arc<Vec<T>>, real: fn(T) -> f32) -> LazyTensor<'f> {
    let numbers = Arc::clone(numbers);
    LazyTensor::new(numbers.len(), move || {
        let numbers = Arc::clone(&numbers);
        let pieces: Pieces<'f> = Box::new(move |first: usize, out: &mut [f32]| {
            out.iter_mut().zip(&numbers[first..]).for_each(|(slot, &n)| *slot = real(n));
            Ok(())
        });
        Ok(pieces)
    })
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

/// Gives integers that lie in a file from a place on to `take`, one after another.
fn integers(
    file: &Bytes<'_>,
    kind: DataType,
    begin: usize,
    len: usize,
    mut take: impl FnMut(i64),
) -> Result<(), FormatError> {
    let (size, mut chunk) = (kind.size(), [0; 8 * CHUNK]);
    for first in (0..len).step_by(CHUNK) {
        let chunk = &mut chunk[..CHUNK.min(len - first) * size];
        file.read(begin + first * size, chunk)?;
        chunk.chunks_exact(size).for_each(|bytes| take(kind.integer(bytes)));
    }
    Ok(())
}
