//! Files: safetensors, model directories, atomic writing.
