//! Layers to the text of a `.cfg` file. Not here: which layers a network has ([`super::originals`], [`super::export`]).

use std::fmt::{Display, Write};

/// A convolution to be written; `padding` is in taps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Convolution<'a> {
    pub filters: usize,
    pub size: usize,
    pub stride: usize,
    pub padding: usize,
    pub groups: usize,
    pub dilation: usize,
    pub is_normalised: bool,
    pub activation: &'a str,
}

/// A text of sections under construction. Layers are counted as they are written, and what refers to others does so by the
/// distance, so that a part of the text may be moved.
#[derive(Debug)]
pub(super) struct Writer {
    text: String,
    layers: usize,
}

impl Writer {
    /// For pictures `[c, h, w]`.
    pub(super) fn new([channels, height, width]: [usize; 3]) -> Self {
        let text = format!("[net]\nwidth={width}\nheight={height}\nchannels={channels}\n");
        Self { text, layers: 0 }
    }

    /// Layers so far.
    pub(super) fn layers(&self) -> usize {
        self.layers
    }

    /// A layer; gives its number.
    pub(super) fn layer(&mut self, name: &str, options: &[(&str, &dyn Display)]) -> usize {
        // Nothing can go wrong in writing to a string.
        let _ = writeln!(self.text, "\n[{name}]");
        for (key, value) in options {
            let _ = writeln!(self.text, "{key}={value}");
        }
        self.layers += 1;
        self.layers - 1
    }

    /// A convolution.
    pub(super) fn convolution(&mut self, c: Convolution<'_>) -> usize {
        let mut options: Vec<(&str, &dyn Display)> = Vec::new();
        if c.is_normalised {
            options.push(("batch_normalize", &1));
        }
        options.extend([("filters", &c.filters as &dyn Display), ("size", &c.size), ("stride", &c.stride)]);
        if c.padding == c.size / 2 {
            options.push(("pad", &1));
        } else {
            options.push(("padding", &c.padding));
        }
        if c.groups != 1 {
            options.push(("groups", &c.groups));
        }
        if c.dilation != 1 {
            options.push(("dilation", &c.dilation));
        }
        options.push(("activation", &c.activation));
        self.layer("convolutional", &options)
    }

    /// Channels of earlier layers one after another.
    pub(super) fn route(&mut self, layers: &[usize]) -> usize {
        let list: Vec<String> = layers.iter().map(|&l| self.distance(l)).collect();
        self.layer("route", &[("layers", &list.join(","))])
    }

    /// One of the equal groups of an earlier layer's channels.
    pub(super) fn group(&mut self, layer: usize, groups: usize, group: usize) -> usize {
        let layers = self.distance(layer);
        self.layer("route", &[("layers", &layers), ("groups", &groups), ("group_id", &group)])
    }

    /// Adds an earlier layer to the one before.
    pub(super) fn shortcut(&mut self, from: usize, activation: &str) -> usize {
        let from = self.distance(from);
        self.layer("shortcut", &[("from", &from), ("activation", &activation)])
    }

    fn distance(&self, layer: usize) -> String {
        format!("-{}", self.layers - layer)
    }

    /// The text.
    pub(super) fn finish(self) -> String {
        self.text
    }
}
