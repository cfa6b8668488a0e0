//! Generates the gRPC code without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = protox::compile(["proto/clm/secure/v1/secure.proto"], ["proto"])?;
    tonic_prost_build::configure().build_transport(true).bytes(".").compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed=proto");
    Ok(())
}
