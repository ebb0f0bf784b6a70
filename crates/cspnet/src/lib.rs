//! cspnet
