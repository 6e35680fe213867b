//! Parse, run, exit code.

fn main() -> std::process::ExitCode {
    picket::cli::main()
}
