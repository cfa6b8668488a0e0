//! REST bodies and the problem document, shared by server and command line
