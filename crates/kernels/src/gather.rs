//! Values whose numbers are numbers of another value at other places: padding, cropping, shuffling, transposing, repeating.

use std::num::NonZeroU32;

use crate::{Block, LANES, Memory, Planes, Team};

/// A place in an image's share, relative to which others may lie; none where there is a constant.
type Place = Option<isize>;

/// A place in a quarter of the memory: how many floats behind a first one, and one more.
type Near = Option<NonZeroU32>;

/// The place itself, `first` being the first one.
#[inline(always)]
fn far(first: usize, near: Near) -> Place {
    Some((first + near?.get() as usize - 1) as isize)
}

/// Where the numbers of a value come from.
#[derive(Debug)]
enum Origin {
    /// A place for every channel and one for every pixel, which are added: channels are shuffled alike at all pixels, and pixels
    /// alike in all channels.
    Apart { lanes: Vec<[Place; LANES]>, pixels: Vec<Place> },
    /// A place for every pixel of every block, behind the first float of the input.
    Near { first: usize, places: Vec<[Near; LANES]> },
    /// The same where the input is spread over more than 16 GB.
    Far(Vec<[Place; LANES]>),
}

/// `output[place] = input[source(place)]`, or a constant where there is no source.
#[derive(Debug)]
pub struct Gather {
    origin: Origin,
    fill: f32,
    end: usize,
    output: Planes,
}

impl Gather {
    /// `source` says at which channel, row and column of the input a number of the output is; none means `fill`.
    ///
    /// # Panics
    /// If a source lies outside of the input, the values overlap, or two blocks of the output do.
    pub fn new(input: &Planes, output: &Planes, fill: f32, source: impl Fn([usize; 3]) -> Option<[usize; 3]>) -> Self {
        assert!(input.is_apart_from(output) && output.is_disjoint(), "a value cannot be rearranged where it lies");
        let bases: Vec<usize> = bases(input);
        let place = |channel: usize, pixel: usize| {
            let [c, y, x] = source([channel, pixel / output.width(), pixel % output.width()])?;
            assert!(c < bases.len() && y < input.height() && x < input.width(), "a source beyond the value");
            Some((bases[c] + (y * input.width() + x) * LANES) as isize)
        };
        let origin = Origin::apart(output, place).unwrap_or_else(|| {
            let first = bases.iter().copied().min().unwrap_or(0);
            Origin::near(output, first, place).unwrap_or_else(|| Origin::far(output, place))
        });
        Self { origin, fill, end: input.end().max(output.end()), output: output.clone() }
    }

    /// Computes all images.
    ///
    /// # Panics
    /// If the memory has no room for the values.
    pub fn run(&self, memory: &mut Memory, team: &mut Team) {
        assert!(memory.image_len() >= self.end, "values beyond the arena");
        let (images, blocks) = (memory.images(), self.output.blocks().len());
        let shared = memory.share();
        team.run(images * blocks, &|part, _| {
            // SAFETY: both values lie in the image's share, and the block is this part's alone.
            unsafe { self.block(part % blocks, shared.image(part / blocks)) }
        });
    }

    /// # Safety
    /// `image` points at an image's share that holds both values, and nobody else touches the block.
    unsafe fn block(&self, block: usize, image: *mut f32) {
        let Block { offset, count, .. } = self.output.blocks()[block];
        let pixels = self.output.pixels();
        let at = |pixel: usize| image.wrapping_add(offset + pixel * LANES);
        match &self.origin {
            Origin::Apart { lanes, pixels: places } => {
                let lanes = &lanes[block];
                let (whole, all) = (whole_vector(lanes), all_lanes(lanes, count));
                for (pixel, place) in places.iter().enumerate() {
                    // SAFETY: sources lie in the input; the pixel is this block's.
                    unsafe {
                        match (whole, all, place) {
                            (Some(lane), _, Some(place)) => {
                                at(pixel).copy_from_nonoverlapping(image.wrapping_offset(lane + place), LANES);
                            }
                            (None, Some(lanes), Some(place)) => {
                                put_together(image.wrapping_offset(*place), lanes, count, at(pixel));
                            }
                            _ => self.pixel(image, &lanes.map(|l| Some(l? + (*place)?)), count, at(pixel)),
                        }
                    }
                }
            }
            Origin::Near { first, places } => {
                for (pixel, lanes) in places[block * pixels..][..pixels].iter().enumerate() {
                    // SAFETY: as above.
                    unsafe { self.pixel(image, &lanes.map(|near| far(*first, near)), count, at(pixel)) }
                }
            }
            Origin::Far(places) => {
                for (pixel, lanes) in places[block * pixels..][..pixels].iter().enumerate() {
                    // SAFETY: as above.
                    unsafe { self.pixel(image, lanes, count, at(pixel)) }
                }
            }
        }
    }

    /// # Safety
    /// The places lie in the image's share, `to` points at a pixel of the output that is nobody else's.
    #[inline(always)]
    unsafe fn pixel(&self, image: *mut f32, lanes: &[Place; LANES], count: usize, to: *mut f32) {
        for (lane, place) in lanes.iter().enumerate() {
            let value = match place {
                // SAFETY: the function's own promise.
                Some(place) => unsafe { *image.wrapping_offset(*place) },
                None if lane < count => self.fill,
                None => 0.0,
            };
            // SAFETY: a lane of the pixel.
            unsafe { *to.add(lane) = value };
        }
    }
}

/// Puts a pixel together of channels from anywhere.
///
/// # Safety
/// The places of the first `count` lanes, counted from `from`, can be read, and `to` points at a pixel that is nobody else's.
#[inline(always)]
unsafe fn put_together(from: *const f32, places: [isize; LANES], count: usize, to: *mut f32) {
    let mut vector = [0.0; LANES];
    for lane in 0..count {
        // SAFETY: the function's own promise.
        vector[lane] = unsafe { *from.wrapping_offset(places[lane]) };
    }
    // SAFETY: a pixel has so many floats.
    unsafe { to.copy_from_nonoverlapping(vector.as_ptr(), LANES) };
}

/// The places of a block's lanes, if all its channels have one.
fn all_lanes(lanes: &[Place; LANES], count: usize) -> Option<[isize; LANES]> {
    lanes[..count].iter().all(Option::is_some).then(|| lanes.map(Option::unwrap_or_default))
}

/// The place of the first lane, if a block is full and its lanes lie side by side.
fn whole_vector(lanes: &[Place; LANES]) -> Option<isize> {
    let first = lanes[0]?;
    (0..LANES).all(|lane| lanes[lane] == Some(first + lane as isize)).then_some(first)
}

/// Where every channel's first number lies.
pub(crate) fn bases(planes: &Planes) -> Vec<usize> {
    planes.blocks().iter().flat_map(|b| b.offset..b.offset + b.count).collect()
}

impl Origin {
    /// If places of channels and of pixels add up.
    fn apart(output: &Planes, place: impl Fn(usize, usize) -> Place) -> Option<Self> {
        let (channels, pixels) = (output.channels(), output.pixels());
        let mut all = (0..channels).flat_map(|c| (0..pixels).map(move |p| (c, p)));
        let first = all.clone().find_map(|(c, p)| Some((c, p, place(c, p)?)));
        let (of_channels, of_pixels): (Vec<Place>, Vec<Place>) = match first {
            Some((c, p, base)) => {
                ((0..channels).map(|c| place(c, p)).collect(), (0..pixels).map(|p| Some(place(c, p)? - base)).collect())
            }
            None => (vec![None; channels], vec![None; pixels]),
        };
        let sum = |c: usize, p: usize| Some(of_channels[c]? + of_pixels[p]?);
        all.all(|(c, p)| place(c, p) == sum(c, p)).then(|| {
            let lanes = |b: &Block| of_block(b, |c| of_channels[c]);
            Self::Apart { lanes: output.blocks().iter().map(lanes).collect(), pixels: of_pixels }
        })
    }

    /// If no place is too far from the first.
    fn near(output: &Planes, first: usize, place: impl Fn(usize, usize) -> Place) -> Option<Self> {
        let near = |place: isize| u32::try_from(place as usize - first + 1).ok().and_then(NonZeroU32::new);
        let mut places = Vec::with_capacity(output.blocks().len() * output.pixels());
        for lanes in each_pixel(output, place) {
            if lanes.iter().flatten().any(|&place| near(place).is_none()) {
                return None;
            }
            places.push(lanes.map(|place| near(place?)));
        }
        Some(Self::Near { first, places })
    }

    fn far(output: &Planes, place: impl Fn(usize, usize) -> Place) -> Self {
        Self::Far(each_pixel(output, place).collect())
    }
}

/// The places of every pixel of every block.
fn each_pixel(output: &Planes, place: impl Fn(usize, usize) -> Place) -> impl Iterator<Item = [Place; LANES]> {
    let pixels = output.blocks().iter().flat_map(|block| (0..output.pixels()).map(move |pixel| (block, pixel)));
    pixels.map(move |(block, pixel)| of_block(block, |channel| place(channel, pixel)))
}

/// What the lanes of a block have.
fn of_block(block: &Block, of: impl Fn(usize) -> Place) -> [Place; LANES] {
    std::array::from_fn(|lane| if lane < block.count { of(block.first + lane) } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_take_four_bytes_or_as_many_as_they_need() {
        assert_eq!(size_of::<Near>(), 4);
        let input = |stride: usize| Planes::dense(16, 1, 2, 64, stride);
        let output = Planes::dense(16, 1, 2, 0, 16);
        // Channels that lie in one order at the first pixel, and in another at the second.
        let source = |[c, y, x]: [usize; 3]| (c != 3).then(|| [if x == 0 { c } else { 15 - c }, y, x]);
        for stride in [16, 1 << 33] {
            let input = input(stride);
            let bases = bases(&input);
            let gather = Gather::new(&input, &output, 0.0, source);
            let found: Vec<[Place; LANES]> = match &gather.origin {
                Origin::Near { first, places } => {
                    places.iter().map(|lanes| lanes.map(|near| far(*first, near))).collect()
                }
                Origin::Far(places) => places.clone(),
                Origin::Apart { .. } => panic!("channels and pixels do not add up"),
            };
            assert_eq!(matches!(gather.origin, Origin::Far(_)), stride > 16);
            let expected = [0, 1].map(|block| {
                [0, 1].map(|x| {
                    std::array::from_fn::<Place, LANES, _>(|lane| {
                        let [c, _, x] = source([8 * block + lane, 0, x])?;
                        Some((bases[c] + x * LANES) as isize)
                    })
                })
            });
            assert_eq!(found, expected.concat());
        }
    }
}
