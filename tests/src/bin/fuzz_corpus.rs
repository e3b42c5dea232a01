//! Writes the made part of the corpus that fuzzing begins with, `tests/fuzz/corpus`.

fn main() -> std::io::Result<()> {
    tests::fuzz::corpus::write()
}
