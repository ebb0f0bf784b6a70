//! Parquet files as `datasets` writes them, made here with the writer of the same crate, whole and damaged.

#[path = "common/folder.rs"]
mod folder;
#[path = "common/huggingface.rs"]
mod huggingface;
#[path = "common/pixel.rs"]
mod pixel;

use std::fs;
use std::path::Path;

use cspnet_data::{DataError, DataOptions, DataSet, Draw, Outline, Purpose, Split};
use cspnet_vision::DecodeOptions;
use folder::Folder;
use huggingface::Made;
use parquet::basic::{Compression, ZstdLevel};
use pixel::bmp;

/// A photo of 640 by 300 pixels, of whose rows the first 80 are noise.
fn noisy_bmp(number: u64) -> Vec<u8> {
    let (width, height, noisy) = (640_usize, 300_usize, 80_usize);
    let mut bytes = bmp(0);
    bytes.truncate(54);
    bytes[18..22].copy_from_slice(&(width as u32).to_le_bytes());
    bytes[22..26].copy_from_slice(&(height as u32).to_le_bytes());
    let mut noise = Draw::new(0, 0, number, Purpose::Crop);
    bytes.extend((0..width * noisy * 3).map(|_| noise.word() as u8));
    bytes.resize(54 + width * height * 3, 0);
    bytes
}

const CLASSES: &[&str] = &["zebra", "ant"];

/// Photos of these numbers, whose classes alternate.
fn photos(numbers: std::ops::Range<usize>) -> Made {
    let rows = numbers.map(|n| (Some(bmp(n)), Some(n as i64 % 2))).collect();
    Made { names: Some(CLASSES), rows, compression: Compression::ZSTD(ZstdLevel::default()) }
}

fn open(path: &Path) -> Result<DataSet, DataError> {
    DataSet::open(path, &DataOptions::default(), &mut |_, _| {})
}

fn open_one(path: &Path, split: Option<Split>) -> Result<DataSet, DataError> {
    DataSet::open_one(path, split, &DataOptions::default(), &mut |_, _| {})
}

/// The number of the photo that a sample shows.
fn numbers(samples: &[cspnet_data::Sample]) -> Vec<usize> {
    let options = DecodeOptions::default();
    let blue = |s: &cspnet_data::Sample| usize::from(s.decode(&options).unwrap().pixels()[2]);
    samples.iter().map(blue).collect()
}

#[test]
fn files_of_splits_are_read_with_the_classes_in_their_own_order() {
    let folder = Folder::new();
    for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())] {
        Made { compression, ..photos(0..7) }.write(&folder.path("data/train-00000-of-00002.parquet"));
        photos(7..10).write(&folder.path("data/train-00001-of-00002.parquet"));
        photos(20..24).write(&folder.path("data/valid-00000-of-00001.parquet"));
        photos(30..35).write(&folder.path("data/test-00000-of-00001.parquet"));
        let data = folder.open().unwrap();
        assert_eq!(data.classes, CLASSES);
        assert_eq!(numbers(&data.train), (0..10).collect::<Vec<_>>());
        assert_eq!(numbers(&data.validation), (20..24).collect::<Vec<_>>());
        assert_eq!(numbers(&data.test), (30..35).collect::<Vec<_>>());
        assert_eq!(data.train.iter().map(|s| s.class).collect::<Vec<_>>(), [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
        assert!(data.train[8].path.ends_with("train-00001-of-00002.parquet/1"), "{:?}", data.train[8]);
        assert!(data.skipped.is_empty() && data.duplicates.is_empty());
        let again = folder.open().unwrap();
        assert_eq!((again.fingerprint.len(), again == data), (64, true));
    }
    let outline = Outline::of(folder.0.path(), None, &DataOptions::default()).unwrap();
    assert_eq!((outline.split, &outline.classes[..]), (Some(Split::Test), &["zebra".to_owned(), "ant".to_owned()][..]));
    assert_eq!(numbers(&open_one(folder.0.path(), Some(Split::Validation)).unwrap().test), [20, 21, 22, 23]);
}

#[test]
fn validation_is_set_aside_from_train_where_there_is_none() {
    let folder = Folder::new();
    photos(0..20).write(&folder.path("train.parquet"));
    photos(40..44).write(&folder.path("test.parquet"));
    let data = folder.open().unwrap();
    assert_eq!((data.train.len(), data.validation.len(), data.test.len()), (16, 4, 4));
    let mut all = numbers(&[data.train, data.validation].concat());
    all.sort_unstable();
    assert_eq!(all, (0..20).collect::<Vec<_>>());
    // One file is a data set by itself, whatever it is called.
    let one = open(&folder.path("train.parquet")).unwrap();
    assert_eq!((one.train.len(), one.validation.len(), one.test.len()), (16, 4, 0));
    assert_eq!(numbers(&open_one(&folder.path("test.parquet"), None).unwrap().test), [40, 41, 42, 43]);
    fs::remove_file(folder.path("train.parquet")).unwrap();
    assert!(matches!(folder.open(), Err(DataError::NoSplit { split: Split::Train, .. })));
}

#[test]
fn rows_that_are_no_photos_are_named_and_the_rest_is_used() {
    let folder = Folder::new();
    let mut made = photos(0..10);
    made.rows[2].0 = None;
    made.rows[3].1 = None;
    made.rows[4].1 = Some(-1);
    made.rows[5].1 = Some(2);
    made.rows[6].0 = Some(b"no photo".to_vec());
    made.write(&folder.path("photos.parquet"));
    let data = folder.open().unwrap();
    assert_eq!(data.train.len() + data.validation.len(), 5);
    let rows: Vec<_> = data.skipped.iter().map(|s| s.path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(rows, ["2", "3", "4", "5", "6"]);
    assert!(data.skipped.iter().all(|s| s.unreadable));
}

#[test]
fn files_that_cannot_be_a_data_set_say_why() {
    let folder = Folder::new();
    let file = folder.path("train.parquet");
    let why = || match folder.open() {
        Err(DataError::Parquet { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    Made { names: Some(&["a", "a"]), ..photos(0..4) }.write(&file);
    assert!(why().contains("same name"), "{}", why());
    photos(0..6).write(&file);
    Made { names: Some(&["ant", "zebra"]), ..photos(6..9) }.write(&folder.path("train-2.parquet"));
    assert!(why().contains("other classes"), "{}", why());
    fs::remove_file(folder.path("train-2.parquet")).unwrap();
    let options = DataOptions { max_packed: 500 + 5 * bmp(0).len() as u64, ..DataOptions::default() };
    let refused = DataSet::open(folder.0.path(), &options, &mut |_, _| {});
    assert!(matches!(refused, Err(DataError::Parquet { why, .. }) if why.contains("memory")));
    fs::write(&file, b"<html></html>").unwrap();
    assert!(!why().is_empty());
}

#[test]
fn photos_that_unpack_to_more_than_any_are_refused_with_their_page() {
    let folder = Folder::new();
    let file = folder.path("train.parquet");
    for compression in [Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())] {
        let mut made = Made { compression, ..photos(0..4) };
        made.rows[1].0 = Some(vec![0; 80 << 20]);
        made.write(&file);
        assert!(fs::metadata(&file).unwrap().len() < 5 << 20);
        let why = match folder.open() {
            Err(DataError::Parquet { why, .. }) => why,
            other => panic!("{other:?}"),
        };
        assert!(why.starts_with("row group 0: the page at byte "), "{why}");
        assert!(why.contains("more than may be held in memory; unpack the photos"), "{why}");
    }
}

#[test]
fn photos_of_which_much_is_alike_are_read() {
    let folder = Folder::new();
    let file = folder.path("train.parquet");
    let rows: Vec<_> = (0..120).map(|n| (Some(noisy_bmp(n)), Some((n % 2) as i64))).collect();
    let unpacked: usize = rows.iter().filter_map(|(photo, _)| Some(photo.as_ref()?.len())).sum();
    Made { rows, ..photos(0..0) }.write(&file);
    let packed = fs::metadata(&file).unwrap().len() as usize;
    // As in CIFAR-10 of JPEGs, three times the file and more.
    assert!((3 * packed..4 * packed).contains(&unpacked), "{unpacked} bytes in {packed}");
    let data = folder.open().unwrap();
    assert_eq!(data.train.len() + data.validation.len(), 120);
    assert!(data.skipped.is_empty());
}

#[test]
fn damage_anywhere_is_an_error_or_a_row_that_is_named() {
    let folder = Folder::new();
    let file = folder.path("train.parquet");
    Made { compression: Compression::UNCOMPRESSED, ..photos(0..8) }.write(&file);
    let whole = fs::read(&file).unwrap();
    let expected = folder.open().unwrap();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut told = 0;
    // Not every place, for it takes its time; a prime, so that no field is always spared.
    for at in (0..whole.len()).step_by(5) {
        for value in [0xff, whole[at] ^ 0x10] {
            let mut damaged = whole.clone();
            damaged[at] = value;
            fs::write(&file, &damaged).unwrap();
            match folder.open() {
                Err(_) => told += 1,
                // A bit of a photo, of an unused column or of a name was changed: nothing that can be known.
                Ok(data) => {
                    assert!(data.train.len() + data.validation.len() + data.skipped.len() <= 8 || data == expected)
                }
            }
        }
        if at % 35 == 0 {
            fs::write(&file, &whole[..at]).unwrap();
            assert!(folder.open().is_err());
        }
    }
    std::panic::set_hook(hook);
    assert!(told > whole.len() / 20, "{told} of {}", 2 * whole.len() / 5);
}
