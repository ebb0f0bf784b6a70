//! Where roots lie in the arena: storage is given back when nobody reads it any more.
//!
//! Not here: which values own storage ([`crate::layout`]).

use cspnet_kernels::LANES;

/// Floats of a cache line.
const LINE: usize = 16;

/// What the arena must hold: planes of `LANES` channels, from the step that first writes them to the one that last reads
/// them, both included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    pub blocks: usize,
    pub height: usize,
    pub width: usize,
    pub first: usize,
    pub last: usize,
}

/// A place in one image's share of the arena, in floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub offset: usize,
    pub plane_stride: usize,
}

impl Demand {
    /// Floats from one plane to the next: whole cache lines, and an odd number of them, since planes a power of two apart
    /// would compete for the same few sets of the cache.
    pub fn plane_stride(&self) -> usize {
        let lines = (self.height * self.width * LANES).div_ceil(LINE);
        (lines | 1) * LINE
    }

    /// Floats of all planes.
    pub fn len(&self) -> usize {
        self.blocks * self.plane_stride()
    }
}

/// Places for all demands and the floats one image needs: the largest first, each at the lowest offset where nothing
/// that lives at the same time lies.
pub(crate) fn assign(demands: &[Demand]) -> (Vec<Place>, usize) {
    let mut order: Vec<usize> = (0..demands.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(demands[i].len()), i));
    let mut places = vec![Place::default(); demands.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut end = 0;
    for i in order {
        let d = &demands[i];
        let offset = lowest_gap(d, demands, &places, &placed);
        places[i] = Place { offset, plane_stride: d.plane_stride() };
        let at = placed.partition_point(|&p| places[p].offset <= offset);
        placed.insert(at, i);
        end = end.max(offset + d.len());
    }
    (places, end)
}

/// The lowest offset for `demand` among what is `placed`, which is sorted by offset.
fn lowest_gap(demand: &Demand, demands: &[Demand], places: &[Place], placed: &[usize]) -> usize {
    let mut offset = 0;
    for &p in placed {
        let other = &demands[p];
        let lives_together = demand.first <= other.last && other.first <= demand.last;
        if lives_together {
            if offset + demand.len() <= places[p].offset {
                break;
            }
            offset = offset.max(places[p].offset + other.len());
        }
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(blocks: usize, first: usize, last: usize) -> Demand {
        Demand { blocks, height: 4, width: 4, first, last }
    }

    #[test]
    fn storage_is_used_again_but_never_twice_at_once() {
        let demands: Vec<Demand> = (0..40).map(|i| demand(1 + (i * 7) % 5, i, i + 1 + (i * 3) % 4)).collect();
        let (places, end) = assign(&demands);
        for (i, a) in demands.iter().enumerate() {
            for (j, b) in demands.iter().enumerate().skip(i + 1) {
                let together = a.first <= b.last && b.first <= a.last;
                let apart =
                    places[i].offset + a.len() <= places[j].offset || places[j].offset + b.len() <= places[i].offset;
                assert!(!together || apart, "{i} and {j}");
            }
        }
        assert!(end < demands.iter().map(Demand::len).sum::<usize>() / 3);
    }

    #[test]
    fn planes_are_an_odd_number_of_cache_lines_apart() {
        for (h, w) in [(1, 1), (7, 7), (32, 32), (14, 3)] {
            let stride = Demand { height: h, width: w, ..demand(1, 0, 0) }.plane_stride();
            assert!(stride >= h * w * LANES && stride % (2 * LINE) == LINE);
        }
    }
}
