//! Keystone, Glance, Nova, Neutron and Cinder over HTTP.
